package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
)

type lockFlags struct {
	file, reason string
	node         nodeValue
	force        bool
	last         time.Duration
}

func (a *App) newLock(g *globals) *cobra.Command {
	var f lockFlags
	cmd := a.with(g, "lock", uses(flagsStore, flagsFile, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.lock(ctx, f) })
	fl := cmd.Flags()
	fl.StringVarP(&f.file, "file", "f", "", "`file` to lock")
	fl.StringVarP(&f.reason, "reason", "r", "", "`reason`, shown by locks, status and history")
	durationVar(fl, &f.last, "for", 0, "end the lock after this `time`, such as 90m (default: never); 1.x ignores it")
	fl.Var(&f.node, "node", "`name` of the node or its host (default: this machine)")
	fl.BoolVar(&f.force, "force", false, "accept a --node without a receipt, such as one with kvexpress 1.x")
	return cmd
}

func (s *session) lock(ctx context.Context, f lockFlags) (report, error) {
	find := s.nodeFileToLock
	if f.force {
		find = func(_ context.Context, name, node string) (nodeFile, error) { return s.nodeFile(name, node) }
	}
	at, err := find(ctx, f.file, f.node.name)
	if err != nil {
		return nil, err
	}
	s.about = at.file
	var until time.Time
	if s.cmd.Flags().Changed("for") {
		if f.last < time.Second {
			return nil, errors.New("--for must be at least 1s, such as 90m")
		}
		until = s.started.Add(f.last).Truncate(time.Second)
	}
	reason := f.reason
	if reason == "" {
		reason = fmt.Sprintf("No reason given for '%s' by '%s' at '%s'.", at.file, s.author(), render.Time(s.started))
	}
	var marker install.Target // attributes of FILE.locked
	if err := s.fileOf(&marker); err != nil && at.here {
		return nil, err
	}
	freezer := s.actor(ctx, at.node)
	freezer.By.Key = s.keyOf(ctx, cmp.Or(f.node.name, at.node), at.file)
	row, was := s.layout.Lock(at.file, at.node), ""
	for _, path := range at.files() {
		before, err := freezer.Lock(ctx, path, reason, until)
		if err != nil {
			s.observeFailure(err, row, observe.LocationSet)
			return nil, err
		}
		was = cmp.Or(was, before)
	}
	s.log.Info("locked", "file", at.file, "node", at.node, "reason", reason)
	s.metrics.Count("lock", row, observe.LocationComplete)
	if at.here {
		attrs := marker.Attrs(atomicfile.Attrs{Mode: install.NewFileMode, UID: -1, GID: -1})
		if err := hold.WriteMarker(at.file, reason, until, attrs); err != nil {
			s.warn(fmt.Sprintf("the file is locked, but %s could not be written: %s", hold.Marker(at.file), render.Error(err)))
		}
	}
	fields := lockAction{File: at.file, Node: at.node, Action: "locked", Reason: reason,
		Since: s.started.UTC().Truncate(time.Second)}
	text := fmt.Sprintf("%s: locked %s", at.file, at.on())
	if !until.IsZero() {
		text += " until " + until.Format(time.RFC3339)
		fields.Until = until.UTC().Truncate(time.Second)
	}
	if was != "" && was != reason {
		text += fmt.Sprintf("; replaces the reason %q", was)
		fields.Replaced = was
	}
	return said{text: fmt.Sprintf("%s; to undo: `%s`", text, at.unlock()), fields: fields}, nil
}

// lockAction is what lock or unlock did.
type lockAction struct {
	File     string    `json:"file"`
	Node     string    `json:"node"`
	Action   string    `json:"action"`
	Reason   string    `json:"reason,omitempty"` // of the lock
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	Replaced string    `json:"replaced,omitempty"` // the reason of the lock before
}

func (a *App) newUnlock(g *globals) *cobra.Command {
	var file string
	var node nodeValue
	cmd := a.with(g, "unlock", uses(flagsStore, flagsReport), func(ctx context.Context, s *session) (report, error) {
		return s.unlock(ctx, file, node.name)
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to unlock")
	cmd.Flags().Var(&node, "node", "`name` of the node or its host (default: this machine)")
	return cmd
}

func (s *session) unlock(ctx context.Context, name, node string) (report, error) {
	at, err := s.nodeFile(name, node)
	if err != nil {
		return nil, err
	}
	names := []string{at.node}
	if !at.here {
		if at, _, err = s.nodeFileByReceipt(name, node, s.reported(ctx)); err != nil {
			return nil, err
		}
		names = slices.Compact([]string{node, at.node}) // the lock may have either name
	}
	s.about = at.file
	was := ""
	for _, host := range names {
		freezer := s.actor(ctx, host)
		freezer.By.Key = s.keyOf(ctx, host, at.file)
		for _, path := range at.files() {
			reason, err := freezer.Unlock(ctx, path)
			if err != nil {
				s.observeFailure(err, s.layout.Lock(path, host), observe.LocationDelete)
				return nil, err
			}
			was = cmp.Or(was, reason)
		}
	}
	if at.here {
		for _, path := range at.files() {
			if err := hold.RemoveMarker(path); err != nil {
				s.warn(fmt.Sprintf("%s could not be removed: %s", hold.Marker(path), render.Error(err)))
			}
		}
	}
	fields := lockAction{File: at.file, Node: at.node, Action: "unchanged"}
	if was == "" {
		return said{text: fmt.Sprintf("%s: was not locked %s", at.file, at.on()), fields: fields}, nil
	}
	s.log.Info("unlocked", "file", at.file, "node", at.node, "was", was)
	s.metrics.Count("unlock", s.layout.Lock(at.file, at.node), observe.LocationComplete)
	fields.Action, fields.Reason = "unlocked", was
	return said{text: fmt.Sprintf("%s: unlocked %s; it was locked: %s", at.file, at.on(), was), fields: fields}, nil
}

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

// locks lists the locks of some files, or of all, on one node, or on all. The roster has the names of files and keys.
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
	return cmp.Or(l.File, render.Short(l.Hash)+"…")
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
