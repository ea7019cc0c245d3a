package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

func (a *App) newLocks(g *globals) *cobra.Command {
	var files listValue
	var node nodeValue
	cmd := a.with(g, "locks", uses(flagsStore, "json verbose"), func(ctx context.Context, s *session) (report, error) {
		return s.locks(ctx, files, node.name, s.reported(ctx))
	})
	cmd.Flags().VarP(&files, "file", "f", "show only locks of this `file`; can be repeated")
	cmd.Flags().Var(&node, "node", "show only locks of the node or host with this `name`")
	return cmd
}

// locks lists the locks of some files, or of all, on one node, or on all. The roster has the names
// of files and keys.
func (s *session) locks(ctx context.Context, files []string, node string, roster fleet.Roster) (report, error) {
	named := map[string]string{} // by hash
	for _, name := range files {
		p, err := s.nodeFile(name, node)
		if err != nil {
			return nil, err
		}
		for _, path := range p.files() {
			named[kv.FileHash(path)] = path
		}
	}
	all, err := s.freezer().Locks(ctx)
	if err != nil {
		return nil, err
	}
	err = s.freezer().WhoLocked(ctx, all, keysOf(roster, all)...)
	s.debug("the events of locks were not read", err)
	known := filesOf(roster, "")
	r := lockReport{Locks: []lockRow{}, now: s.started, node: node, named: len(named) > 0}
	if r.named {
		known = named
	}
	for _, l := range all {
		row := rowOf(l, roster, known, r.now)
		if (node == "" || l.Node == node || slices.Contains(row.Nodes, node)) && (row.File != "" || !r.named) {
			r.Locks = append(r.Locks, row)
		}
	}
	slices.SortFunc(r.Locks, func(a, b lockRow) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.name(), b.name()), cmp.Compare(a.Hash, b.Hash))
	})
	return r, nil
}

type lockReport struct {
	Locks []lockRow `json:"locks"`

	now   time.Time
	node  string // "": all nodes
	named bool   // -f selects files
}

type lockRow struct {
	hold.Lock
	File string `json:"file,omitempty"` // "": not known
	// Nodes are the names of nodes on this host that differ from the host name.
	Nodes   []string `json:"nodes,omitempty"`
	Expired bool     `json:"expired"`
}

func rowOf(l hold.Lock, roster fleet.Roster, known map[string]string, now time.Time) lockRow {
	row := lockRow{Lock: l, File: known[l.Hash], Expired: !l.Until.IsZero() && !now.Before(l.Until)}
	for _, n := range roster.On(l.Node) {
		if n.Name != l.Node && n.Host() == l.Node {
			row.Nodes = append(row.Nodes, n.Name)
		}
	}
	return row
}

// where is the host, with the names of its nodes that differ.
func (l lockRow) where() string {
	if len(l.Nodes) == 0 {
		return l.Node
	}
	return fmt.Sprintf("%s (%s)", l.Node, strings.Join(l.Nodes, ", "))
}

// name is the file, or the first digits of its hash.
func (l lockRow) name() string {
	if l.File == "" {
		return render.Short(l.Hash) + "…"
	}
	return l.File
}

// rest is the time until the lock ends.
func (l lockRow) rest(now time.Time) string {
	switch {
	case l.Until.IsZero():
		return "-"
	case l.Expired:
		return "expired"
	}
	return "in " + render.Span(l.Until.Sub(now))
}

func (r lockReport) lines() []string {
	if len(r.Locks) == 0 {
		text := "no file is locked"
		if r.named {
			text = "no file given with -f is locked"
		}
		if r.node != "" {
			text += " on " + r.node
		}
		return []string{render.Line(text)}
	}
	rows := [][]string{{"NODE", "FILE", "SET", "ENDS", "WHO", "REASON"}}
	for _, l := range r.Locks {
		rows = append(rows, []string{l.where(), l.name(), render.Ago(l.Since, r.now), l.rest(r.now), cmp.Or(l.Who,
			"unknown"), l.Reason})
	}
	return render.Table(rows)
}
