package cli

import (
	"fmt"
	"strconv"
	"time"

	"kvexpress/internal/agent"
)

// Colours of a terminal.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (r *agentReport) lines() []string {
	lines := []string{r.headline()}
	if c := r.Config; c.Error != "" {
		lines = append(lines, r.paint(red, fmt.Sprintf("the last reload was refused, the configuration of %s is in force: ", r.moment(c.Loaded)))+printable(c.Error))
	}
	if err := r.Receipt.Error; err != "" {
		lines = append(lines, r.paint(yellow, "the last receipt was not written: ")+printable(err))
	}
	if len(r.Targets) == 0 {
		return append(lines, "it has no targets")
	}
	return append(append(lines, ""), r.table()...)
}

// headline is about the agent and its store.
func (r *agentReport) headline() string {
	store, colour := "has not answered yet", yellow
	if since := r.Store.Since; since != nil && r.Store.Up {
		store, colour = "up for "+r.age(*since), green
	} else if since != nil {
		store, colour = fmt.Sprintf("away since %s (%s)", r.moment(*since), r.age(*since)), red
	}
	line := printable(fmt.Sprintf("%s: agent %s up for %s; store %s ", r.Node, r.Version, r.age(r.Started), r.Store.Addr)) + r.paint(colour, store)
	if !r.Store.Up && r.Store.Error != "" {
		line += ": " + printable(r.Store.Error)
	}
	return line
}

// table has a line for each target, and below it why it is not current.
func (r *agentReport) table() []string {
	const state = 2 // the column that is painted
	rows := [][]string{{"KEY", "FILE", "STATE", "VERSION", "SHA256", "SINCE", "EXEC"}}
	for _, t := range r.Targets {
		rows = append(rows, []string{t.Key, t.File, string(t.State), version(t), dash(short(t.SHA256)), r.since(t.Since), r.exec(t)})
	}
	aligned := align(rows, func(row, column int, cell string) string {
		if row == 0 || column != state {
			return cell
		}
		return r.paint(colourOf(r.Targets[row-1].State), cell)
	})
	lines := aligned[:1:1]
	for i, t := range r.Targets {
		lines = append(lines, aligned[i+1])
		if r.tells(t) {
			lines = append(lines, "    "+printable(t.Detail))
		}
	}
	return lines
}

// tells reports whether the detail of a target says more than what stands above.
func (r *agentReport) tells(t agent.TargetStatus) bool {
	inHeadline := t.State == agent.Away && !r.Store.Up
	return t.State != agent.Current && t.Detail != "" && !inHeadline
}

func version(t agent.TargetStatus) string {
	switch {
	case t.Version > 0:
		return strconv.FormatUint(t.Version, 10)
	case t.SHA256 != "":
		return "unmanaged"
	}
	return "-"
}

// exec is how a target's exec is: what is owed first.
func (r *agentReport) exec(t agent.TargetStatus) string {
	e := t.Exec
	switch {
	case e == nil:
		return "-"
	case e.Owed && e.Failures == 0:
		return "owed" + r.again(e.Retry)
	case e.Owed && e.Failures == 1:
		return ended(e.Exit) + r.again(e.Retry)
	case e.Owed:
		return fmt.Sprintf("%s, %d times%s", ended(e.Exit), e.Failures, r.again(e.Retry))
	case e.Last == nil && t.SHA256 == "":
		return "-"
	case e.Last == nil:
		return "done" // before this agent began
	case e.Failures > 0:
		return ended(e.Exit) + " " + r.age(*e.Last) + " ago"
	}
	return "done " + r.age(*e.Last) + " ago"
}

func (r *agentReport) again(at *time.Time) string {
	switch {
	case at == nil:
		return ""
	case at.After(r.now):
		return ", again in " + span(at.Sub(r.now))
	}
	return ", again now"
}

func ended(exit int) string {
	if exit < 0 {
		return "killed"
	}
	return fmt.Sprintf("exit %d", exit)
}

func (r *agentReport) since(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return r.age(*at)
}

func (r *agentReport) age(at time.Time) string { return span(r.now.Sub(at)) }

// moment is a time of today, or with its date.
func (r *agentReport) moment(at time.Time) string {
	at = at.In(r.now.Location())
	if at.Format(time.DateOnly) == r.now.Format(time.DateOnly) {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// span is a duration in its two largest units, such as 3m12s or 2d.
func span(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		n := d / u.size
		if n <= 0 {
			continue
		}
		text := fmt.Sprintf("%d%s", n, u.name)
		if i+1 < len(units) {
			if rest := d % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprintf("%d%s", rest, units[i+1].name)
			}
		}
		return text
	}
	return "0s" // or less, by a clock that was set
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func colourOf(s agent.State) string {
	switch {
	case s == agent.Current:
		return green
	case failing(s) == nil || s == agent.Starting:
		return yellow
	}
	return red
}

func (r *agentReport) paint(colour, text string) string {
	if !r.colour {
		return text
	}
	return dye(colour, text)
}
