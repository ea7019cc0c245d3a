package web

import (
	"fmt"
	"net/http"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

type nodeBody struct {
	query
	fleet.NodeReport
	Why    string // the receipt cannot be read
	Clock  string
	Outage string
	Locks  []nodeLock
	NoLock string // why the locks are not known
	Table  table[nodeRow]
}

type nodeLock struct{ File, Reason, Since, Until string }

// nodeRow is one file.
type nodeRow struct {
	fleet.TargetReport
	Steps fleet.Steps // of the last install
	Exec  *fleet.Exec
	Why   string
}

func (w *Web) node(a *asked) (view, error) {
	n, ok := a.findNode(a.rest)
	if !ok {
		return view{}, &problem{http.StatusNotFound, "No receipt is from a node named " + render.Line(cut(a.rest)) +
			"; check the name, and that the node runs the agent."}
	}
	b := nodeBody{query: a.query}
	if n.Err != nil {
		b.Node, b.Why = n.Name, n.Err.Error()
		return view{n.Name, b.markup()}, nil //nolint:nilerr // the page says so
	}
	keys := n.Keys()
	readable, err := w.readable(a, keys...)
	if err != nil {
		return view{}, err
	}
	outputs := w.mayReadData(a, keys...)
	var live []fleet.Live
	for _, k := range keys {
		if l, ok := a.live[k]; ok && readable[k] {
			live = append(live, l)
		} else {
			live = append(live, fleet.Live{Key: k, Err: errNotRead})
		}
	}
	b.NodeReport = fleet.ExamineNode(a.roster, n, live, fleet.Options{Expiry: w.o.Expiry})
	b.Clock = clock(b.ClockOff)
	if agent := n.Receipt.Agent; agent != nil && agent.Outage != nil {
		b.Outage = fmt.Sprintf("It could not reach the store for %s, until %s before its last report.",
			render.Span(time.Duration(agent.Outage.Lasted)), render.Span(time.Duration(agent.Outage.Ended)))
	}
	b.locks(a, n)
	var rows []nodeRow
	for i, t := range b.Targets {
		row := nodeRow{TargetReport: t, Why: t.Detail}
		for _, k := range keys {
			if string(k) == t.Key && !outputs[k] {
				row.Output = ""
			}
		}
		if i < len(n.Receipt.Targets) {
			row.Exec = n.Receipt.Targets[i].Exec
			if p := n.Receipt.Targets[i].Placed; p != nil {
				row.Steps = p.Steps
			}
		}
		if t.Outcome == outcome.Outdated && t.Detail == "" && t.Live > 0 {
			row.Why = fmt.Sprintf("version %d is live", t.Live)
		}
		if a.has(t.Key) || a.has(t.File) {
			rows = append(rows, row)
		}
	}
	b.Table = tableOf(a.query, rows,
		sorter[nodeRow]{"key", "Key", words, by(func(r nodeRow) string { return r.Key })},
		sorter[nodeRow]{"file", "File", words, by(func(r nodeRow) string { return r.File })},
		sorter[nodeRow]{"outcome", "Outcome", worst, by(func(r nodeRow) int { return r.Outcome.Rank() })},
		sorter[nodeRow]{"version", "Version", number, by(func(r nodeRow) uint64 { return r.Version })},
		sorter[nodeRow]{"since", "For", number, by(func(r nodeRow) fleet.Millis { return r.Since })},
		sorter[nodeRow]{label: "Wait", as: number},
		sorter[nodeRow]{label: "Install", as: number},
		sorter[nodeRow]{label: "Exec", as: number},
		sorter[nodeRow]{label: "Why"})
	return view{n.Name, b.markup()}, nil
}

// locks are those of the node's host. Their paths are not in the store: the files of the receipt tell.
func (b *nodeBody) locks(a *asked, n fleet.Node) {
	if a.noLocks != nil {
		b.NoLock = render.Error(a.noLocks)
		return
	}
	for _, l := range a.locks {
		if l.Node != n.Host() || !l.Until.IsZero() && l.Until.Before(time.Now()) {
			continue
		}
		lock := nodeLock{File: "a file (path hash " + render.Short(l.Hash) + ")", Reason: l.Reason,
			Since: render.Ago(l.Since, time.Now())}
		if !l.Until.IsZero() {
			lock.Until = "ends in " + render.Span(time.Until(l.Until))
		}
		for _, t := range n.Receipt.Targets {
			if kv.FileHash(t.File) == l.Hash {
				lock.File = t.File
			}
		}
		b.Locks = append(b.Locks, lock)
	}
}
