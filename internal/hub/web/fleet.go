package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
)

// States of a key, in the filter of the view of the fleet.
const (
	stateStopped = "stopped"
	stateRolling = "rollout"
	stateBehind  = "behind"
	stateDone    = "up to date"
	stateNobody  = "no nodes"
	stateUnknown = "unknown"
)

// fleetRow is one key.
type fleetRow struct {
	fleet.Report
	State string
	Stop  string // the reason of a stop
	Roll  string // "version 7 is running, stage 2 of 3"
	Why   string // the key is unknown
	Rest  string // "1 exec pending, 2 no contact"
}

type fleetBody struct {
	query
	Table   table[fleetRow]
	Choices []choice
	Nodes   int // with a receipt
	Connect int // that a hub has contact with
	Unread  int
	LeftOut int
	Locks   int
	NoLocks string
	NoRolls string
}

func (w *Web) fleet(a *asked) (view, error) {
	all := a.keys()
	readable, err := w.readable(a, all...)
	if err != nil {
		return view{}, err
	}
	reports := map[string]fleet.Report{}
	for _, r := range a.reports {
		reports[r.Key] = r
	}
	count := map[string]int{}
	rows, total := []fleetRow{}, 0
	for _, k := range all {
		if !a.has(string(k)) {
			continue
		}
		row := fleetRowOf(a.live[k], reports[string(k)], readable[k])
		if r, ok := a.rolls[k]; ok && row.Why == "" {
			row.roll(r)
		}
		count[row.State]++
		total++
		if a.State == "" || a.State == row.State {
			rows = append(rows, row)
		}
	}
	b := fleetBody{query: a.query, LeftOut: a.left, Locks: len(a.locks), Nodes: len(a.roster.Nodes)}
	if a.noLocks != nil {
		b.NoLocks = render.Error(a.noLocks)
	}
	if a.noRolls != nil {
		b.NoRolls = render.Error(a.noRolls)
	}
	for _, n := range a.roster.Nodes {
		if n.Live {
			b.Connect++
		}
		if n.Err != nil {
			b.Unread++
		}
	}
	b.Choices = a.choices(total, []string{stateStopped, stateRolling, stateBehind, stateDone, stateNobody, stateUnknown}, count,
		func(s string) string { return s })
	b.Table = tableOf(a.query, rows,
		sorter[fleetRow]{"key", "Key", words, by(func(r fleetRow) string { return r.Key })},
		sorter[fleetRow]{"state", "State", words, by(func(r fleetRow) string { return r.State })},
		sorter[fleetRow]{"share", "Up to date", number, by(func(r fleetRow) float64 { return r.Share() })},
		sorter[fleetRow]{"version", "Version", number, by(func(r fleetRow) uint64 { return r.Version })},
		sorter[fleetRow]{"published", "Published", number, func(a, b fleetRow) int {
			return publishedAt(a.Report).Compare(publishedAt(b.Report))
		}},
		sorter[fleetRow]{"by", "By", words, by(func(r fleetRow) string { return r.By })},
		sorter[fleetRow]{"p50", "P50", number, by(func(r fleetRow) fleet.Millis { return r.Delivered.P50 })},
		sorter[fleetRow]{"slowest", "Slowest", number, by(func(r fleetRow) fleet.Millis { return r.Delivered.Slowest })},
		sorter[fleetRow]{"rest", "Not up to date", worst, by(func(r fleetRow) int { return r.Nodes - r.Converged })})
	return view{"Fleet", b.markup()}, nil
}

func publishedAt(r fleet.Report) time.Time {
	if r.Published == nil {
		return time.Time{}
	}
	return *r.Published
}

func fleetRowOf(live fleet.Live, r fleet.Report, may bool) fleetRow {
	row := fleetRow{Report: r}
	row.Key = string(live.Key)
	switch {
	case live.Err != nil:
		row.State, row.Why = stateUnknown, render.Error(live.Err)
		return row
	case !may:
		return fleetRow{Report: fleet.Report{Key: row.Key}, State: stateUnknown, Why: "your token may not read this key"}
	}
	row.Rest = notUpToDate(r)
	switch {
	case live.Stopped():
		row.State, row.Stop = stateStopped, live.Stop.Reason()
	case r.Nodes == 0:
		row.State = stateNobody
	case r.Converged < r.Nodes:
		row.State = stateBehind
	default:
		row.State = stateDone
	}
	return row
}

// roll adds a rollout that has not ended.
func (row *fleetRow) roll(r rollout.Row) {
	stages := len(r.Plan.Stages)
	row.Roll = fmt.Sprintf("version %d is %s, stage %d of %d", r.Version, r.State, min(r.Stage+1, stages), stages)
	if row.State != stateStopped {
		row.State = stateRolling
	}
}

// notUpToDate counts the nodes that are not up to date: "1 exec pending, 2 no contact".
func notUpToDate(r fleet.Report) string {
	var parts []string
	for _, row := range outcome.All() {
		if n := r.Outcomes[row.Outcome]; n > 0 && row.Outcome != outcome.Converged {
			parts = append(parts, fmt.Sprintf("%d %s", n, row.Outcome.Text()))
		}
	}
	return strings.Join(parts, ", ")
}

// nodesRow is one node, as it reports itself.
type nodesRow struct {
	Name, Host, Agent, Hub string
	Live                   bool
	Why                    string // its receipt cannot be read
	Files                  int
	Worst                  outcome.Outcome
	Seen                   fleet.Millis
	Clock                  string
}

type nodesBody struct {
	query
	Table   table[nodesRow]
	Choices []choice
}

func (w *Web) nodes(a *asked) (view, error) {
	count, rows, total := map[string]int{}, []nodesRow{}, 0
	for _, n := range a.roster.Nodes {
		if !a.has(n.Name) && !a.has(n.Receipt.Host) {
			continue
		}
		row := nodesRowOf(a.roster, n)
		total++
		count[string(row.Worst)]++
		if a.State == "" || a.State == string(row.Worst) {
			rows = append(rows, row)
		}
	}
	b := nodesBody{query: a.query}
	var states []string
	for _, row := range outcome.All() {
		states = append(states, string(row.Outcome))
	}
	b.Choices = a.choices(total, states, count, func(s string) string { return outcome.Outcome(s).Text() })
	b.Table = tableOf(a.query, rows,
		sorter[nodesRow]{"node", "Node", words, by(func(r nodesRow) string { return r.Name })},
		sorter[nodesRow]{"state", "Reports", worst, by(func(r nodesRow) int { return r.Worst.Rank() })},
		sorter[nodesRow]{"files", "Files", number, by(func(r nodesRow) int { return r.Files })},
		sorter[nodesRow]{"seen", "Last seen", number, by(func(r nodesRow) fleet.Millis { return r.Seen })},
		sorter[nodesRow]{"agent", "Agent", words, by(func(r nodesRow) string { return r.Agent })},
		sorter[nodesRow]{"hub", "Hub", words, by(func(r nodesRow) string { return r.Hub })},
		sorter[nodesRow]{"clock", "Clock", words, by(func(r nodesRow) string { return r.Clock })})
	return view{"Nodes", b.markup()}, nil
}

func nodesRowOf(roster fleet.Roster, n fleet.Node) nodesRow {
	row := nodesRow{Name: n.Name, Live: n.Live}
	if n.Err != nil {
		row.Worst, row.Why = outcome.Unknown, n.Err.Error()
		return row
	}
	report := fleet.ExamineNode(fleet.Roster{Read: roster.Read, ClockOffset: roster.ClockOffset}, n, nil, fleet.Options{})
	row.Host, row.Agent, row.Hub, row.Seen = report.Host, report.Agent, report.Hub, report.LastSeen
	row.Files, row.Worst = len(n.Receipt.Targets)+n.Receipt.Omitted, outcome.Converged
	for _, t := range n.Receipt.Targets {
		if t.Outcome.Rank() > row.Worst.Rank() {
			row.Worst = t.Outcome
		}
	}
	row.Clock = clock(report.ClockOff)
	return row
}

// clock says how far a clock is off: "1h ahead".
func clock(off fleet.Offset) string {
	switch d := time.Duration(off); {
	case d > 0:
		return render.Span(d) + " ahead"
	case d < 0:
		return render.Span(-d) + " behind"
	}
	return ""
}

// found is the page of a key or node; if there is none with this name, the list that has names like it.
func (w *Web) found(s *snapshot, q string) string {
	q = strings.TrimSpace(cut(q))
	if _, ok := s.live[kv.Key(q)]; ok {
		return "/key/" + escapePath(q)
	}
	if _, ok := s.findNode(q); ok {
		return "/node/" + escapePath(q)
	}
	if i := outcome.Outcome(strings.ReplaceAll(q, " ", "_")); i.Rank() >= 0 {
		return query{Path: "/nodes", State: string(i), Page: 1}.link()
	}
	like := query{Path: "/nodes", Q: q, Page: 1}
	if slices.ContainsFunc(s.keys(), func(k kv.Key) bool { return like.has(string(k)) }) {
		like.Path = "/fleet"
	}
	return like.link()
}
