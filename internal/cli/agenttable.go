package cli

import (
	"fmt"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/outcome"
)

func (r *agentReport) lines() []string {
	lines := []string{r.headline()}
	if silent := r.NoContact(r.now); silent != "" {
		lines = append(lines, render.Paint(r.colour, render.Red, silent))
	}
	if c := r.Config; c.Error != "" {
		lines = append(lines, render.Paint(r.colour, render.Red,
			fmt.Sprintf("the last reload was refused; the configuration from %s ago is in force: ", r.age(c.Loaded)))+render.Line(c.Error))
	}
	if err := r.Receipt.Error; err != "" {
		lines = append(lines, render.Paint(r.colour, render.Yellow, "the last receipt was not written: ")+render.Line(err))
	}
	if len(r.Targets) == 0 {
		return append(lines, "no targets")
	}
	return append(append(lines, ""), r.table()...)
}

// headline is about the agent and where it gets its files from.
func (r *agentReport) headline() string {
	line := render.Line(fmt.Sprintf("%s: agent %s up for %s; ", r.Node, r.Version, r.age(r.Started)))
	h := r.Hub
	switch {
	case h == nil:
		return line + r.store()
	case h.Addr != "":
		colour := render.Green
		if time.Duration(h.Age) > agent.StaleAfter {
			colour = render.Yellow
		}
		return line + render.Line("hub "+h.Addr+" ") + render.Paint(r.colour, colour, "connected for "+r.age(*h.Since)) +
			", it read the store " + render.Span(time.Duration(h.Age)) + " ago"
	}
	if line += render.Paint(r.colour, render.Red, "no hub is connected"); h.Error != "" {
		line += ": " + render.Line(h.Error)
	}
	if h.Direct {
		line += "; asking the store itself: " + r.store()
	}
	return line
}

// store is about the store.
func (r *agentReport) store() string {
	store, colour := "has not answered yet", render.Yellow
	if since := r.Store.Since; since != nil && r.Store.Up {
		store, colour = "up for "+r.age(*since), render.Green
	} else if since != nil {
		store, colour = "unreachable for "+r.age(*since), render.Red
	}
	line := render.Line("store "+r.Store.Addr+" ") + render.Paint(r.colour, colour, store)
	if !r.Store.Up && r.Store.Error != "" {
		line += ": " + render.Line(r.Store.Error)
	}
	return line
}

// table has a line for each target, and below it the reason why it has not converged.
func (r *agentReport) table() []string {
	const painted = 2
	rows := [][]string{{"KEY", "FILE", "OUTCOME", "VERSION", "SHA256", "FOR", "EXEC"}}
	for _, t := range r.Targets {
		since, unnumbered := "-", "-"
		if t.SHA256 != "" {
			unnumbered = "unmanaged"
		}
		if t.Since != nil {
			since = r.age(*t.Since)
		}
		shown := string(t.Outcome)
		if t.Polled {
			shown += ", polled"
		}
		if t.Candidate != nil {
			shown += ", candidate"
		}
		rows = append(rows,
			[]string{t.Key, t.File, shown, render.Number(t.Version, unnumbered), render.Dash(render.Short(t.SHA256)), since, r.exec(t)})
	}
	return render.TableWith(rows, func(row, column int) string {
		if !r.colour || column != painted {
			return ""
		}
		return colourOf(r.Targets[row].Outcome)
	}, func(row int) []string {
		t := r.Targets[row]
		if t.Waits != "" {
			return []string{"waiting for " + t.Waits + ", which has locked the file"}
		}
		says := candidateLine(t.Candidate)
		if t.Outcome == outcome.Converged || t.Outcome == outcome.Unreachable && !r.StoreUp() { // the headline says it
			return says
		}
		return append(append(says, t.Detail), outputLines(t.Output())...)
	})
}

// candidateLine says how a candidate goes.
func candidateLine(c *agent.CandidateStatus) []string {
	if c == nil {
		return nil
	}
	line := fmt.Sprintf("candidate of rollout %s: %s", c.Rollout, c.State)
	if c.Reason != "" {
		line += fmt.Sprintf(" (%s): %s", c.Reason, c.Detail)
	}
	return []string{line}
}

// exec is the state of a target's exec.
func (r *agentReport) exec(t agent.TargetStatus) string {
	e := t.Exec
	if e == nil || e.Last == nil && !e.Pending && t.SHA256 == "" {
		return "-"
	}
	text := "done"
	switch {
	case e.Failures > 0 && e.Exit < 0:
		text = "killed"
	case e.Failures > 0:
		text = fmt.Sprintf("exit %d", e.Exit)
	case e.Pending:
		text = "pending"
	}
	switch {
	case !e.Pending && e.Last != nil: // else it ran before this agent began
		text += " " + r.age(*e.Last) + " ago"
	case e.Pending && e.Failures > 1:
		text += fmt.Sprintf(", failed %d times", e.Failures)
	}
	if e.Pending && e.Retry != nil {
		when := ", retrying in "
		if t.ExecWaits() {
			when = ", runs in "
		}
		text += when + render.Span(e.Retry.Sub(r.now))
	}
	return text
}

func (r *agentReport) age(at time.Time) string { return render.Span(r.now.Sub(at)) }

func colourOf(s outcome.Outcome) string {
	switch {
	case s == outcome.Converged:
		return render.Green
	case strictExit(s) == exitOK || s == outcome.Starting:
		return render.Yellow
	}
	return render.Red
}
