package install_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// offering is the store as a hub shows it: with the row of an Offer, or without one.
type offering struct {
	kv.Reader
	path  string
	offer *rollout.Offer
}

// hubView is a store behind a hub, if there is an offer. One with the ID "" is none.
func hubView(s kv.Reader, l kv.Layout, o *rollout.Offer) kv.Reader {
	if o == nil {
		return s
	}
	return offering{s, l.Rollout(hosts), o}
}

func (o offering) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	rows, err := o.Reader.Read(ctx, c, paths...)
	rows = maps.Clone(rows)
	rows[o.path] = kv.Entry{State: kv.Absent}
	if o.offer.ID != "" && err == nil {
		rows[o.path], err = o.offer.Entry()
	}
	return rows, err
}

func (n *node) provisional() string {
	n.t.Helper()
	id, _, err := n.deliverer(nil).Provisional(n.target)
	if err != nil {
		n.t.Error(err)
	}
	return id
}

// candidateNode is a node with A, version 1, in place, and the candidate B, version 2, of the rollout r1 beside it.
// current gives it back the current version: with a hub, or from the store itself.
func candidateNode(t *testing.T) (n *node, current map[string]kv.Entry) {
	t.Helper()
	n = newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	current = n.rows()
	n.publish(contentB())
	n.offer = &rollout.Offer{ID: "r1", Base: rollout.Base{Version: 1, SHA256: record.Checksum(contentA())}}
	return n, current
}

// row writes the rollout as it is in the store.
func (n *node) row(r rollout.Row) {
	n.t.Helper()
	r.Key, r.Version, r.SHA256, r.Plan.Stages = hosts, 2, record.Checksum(contentB()), make([]rollout.Stage, 1)
	b, err := r.Marshal()
	if err != nil {
		n.t.Fatal(err)
	}
	n.put(n.layout.Rollout(hosts), string(b), 0)
}

func (n *node) fill(rows map[string]kv.Entry) {
	n.t.Helper()
	if err := fill(n.store, rows); err != nil {
		n.t.Fatal(err)
	}
}

// A candidate is noted. Going back from it is no step back, also for a target that refuses one.
func TestCandidateGoesBack(t *testing.T) {
	for name, inPlace := range map[string]bool{"rename": false, "in place": true} {
		t.Run(name, func(t *testing.T) {
			n, current := candidateNode(t)
			n.target.RefuseOlder, n.target.InPlace = true, inPlace
			if r := n.must(install.Installed); r.Offered != "r1" || r.Provisional != "r1" || n.provisional() != "r1" {
				t.Errorf("%+v, noted %q", r, n.provisional())
			}
			n.settle(contentB())
			n.fill(current)
			n.offer.ID = ""
			if r := n.must(install.Installed); r.Offered != "" || r.Provisional != "" || n.provisional() != "" || len(r.Notes) > 0 {
				t.Errorf("%+v, noted %q", r, n.provisional())
			}
			n.settle(contentA())
		})
	}
}

// A promoted candidate stays as it is: its exec does not run again, and it is no candidate any more.
func TestCandidatePromoted(t *testing.T) {
	n, _ := candidateNode(t)
	n.must(install.Installed)
	n.offer = nil
	n.row(rollout.Row{ID: "r1", State: rollout.Promoted})
	ran := len(n.execs())
	if r := n.must(install.Unchanged); r.Provisional != "" || n.provisional() != "" || len(n.execs()) != ran {
		t.Errorf("%+v, noted %q, %d execs", r, n.provisional(), len(n.execs())-ran)
	}
}

// A reader of the store itself, such as `out`, leaves a candidate alone while its rollout is open, and only then.
func TestCandidateBesideTheStore(t *testing.T) {
	noted := rollout.Row{ID: "r1", State: rollout.Running}
	for name, c := range map[string]struct {
		row    func(n *node)
		kept   bool
		change []byte
	}{
		"open":            {row: func(n *node) { n.row(noted) }, kept: true},
		"halted":          {row: func(n *node) { n.row(rollout.Row{ID: "r1", State: rollout.Halted}) }, kept: true},
		"denied":          {row: func(n *node) { n.store = denying{n.store, n.layout.Rollout(hosts)} }, kept: true},
		"reverting":       {row: func(n *node) { n.row(rollout.Row{ID: "r1", State: rollout.Reverting}) }},
		"aborted":         {row: func(n *node) { n.row(rollout.Row{ID: "r1", State: rollout.Aborted}) }},
		"another rollout": {row: func(n *node) { n.row(rollout.Row{ID: "r2", State: rollout.Running}) }},
		"no row":          {row: func(*node) {}},
		"damaged":         {row: func(n *node) { n.put(n.layout.Rollout(hosts), "{", 0) }},
		"another version": {row: func(n *node) { n.row(noted) }, change: lines("C", 30)},
	} {
		t.Run(name, func(t *testing.T) {
			n, current := candidateNode(t)
			n.must(install.Installed)
			n.fill(current)
			want := contentA()
			if c.change != nil {
				n.publish(c.change)
				want = c.change
			}
			n.offer = nil
			c.row(n)
			if !c.kept {
				n.must(install.Installed)
				n.settle(want)
				return
			}
			r := n.must(install.Kept)
			if r.Version != 2 || r.SHA256 != record.Checksum(contentB()) || r.Provisional != "r1" {
				t.Errorf("%+v", r)
			}
			for _, b := range n.torn(contentB()) {
				t.Error(b)
			}
			write(t, n.target.File, []byte("changed by hand\n")) // it is no candidate any more
			n.must(install.Installed)
			n.settle(contentA())
		})
	}
}

// denying denies one row.
type denying struct {
	kv.Store
	path string
}

func (d denying) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	rows, err := d.Store.Read(ctx, c, paths...)
	rows = maps.Clone(rows)
	if _, asked := rows[d.path]; asked {
		rows[d.path] = kv.Entry{State: kv.Denied}
	}
	return rows, err
}

// The caller may have enough of a candidate. Then nothing is done, whatever is in place.
func TestCandidateIsLeftAlone(t *testing.T) {
	n, _ := candidateNode(t)
	n.target.Candidate = func(id string) bool { return id != "r1" }
	r := n.must(install.Kept)
	if r.Offered != "r1" || r.Provisional != "" || r.SHA256 != record.Checksum(contentA()) {
		t.Errorf("%+v", r)
	}
	n.target.Candidate = nil
	n.target.Exec = n.script(`exit 1`)
	if _, err := n.deliver(nil); err == nil {
		t.Fatal("the exec succeeded")
	}
	n.target.Candidate = func(string) bool { return false }
	if r := n.must(install.Kept); !r.ExecPending || r.Provisional != "r1" || r.Exec != nil {
		t.Errorf("%+v", r)
	}
}

// A candidate that is withdrawn while its check runs is not installed: the check ends, or its success does not count.
func TestCandidateWithdrawnInItsCheck(t *testing.T) {
	for name, prepare := range map[string]func(n *node, withdraw func()){
		"cancelled": func(n *node, withdraw func()) {
			withdrawn := make(chan struct{})
			n.target.Check = []string{"sh", "-c", "sleep 600; test -f {file}"}
			n.target.Withdrawn = func(id string) <-chan struct{} {
				if id == "r1" {
					withdraw()
					close(withdrawn)
				}
				return withdrawn
			}
		},
		"read again": func(n *node, withdraw func()) {
			n.target.Withdrawn = func(string) <-chan struct{} { withdraw(); return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, current := candidateNode(t)
			prepare(n, func() { n.fill(current); n.offer.ID = "" })
			r, err := n.deliver(nil)
			var refusal *gate.Refusal
			if !errors.Is(err, install.ErrWithdrawn) || errors.As(err, &refusal) || r.Action != install.NoAction {
				t.Errorf("%+v, %v", r, err)
			}
			n.target.Check = []string{"test", "-s", install.FileMark}
			n.settle(contentA())
		})
	}
}

// A candidate that another one replaces, or whose exec fails, is known for what it is all the time.
func TestCandidateAfterCandidate(t *testing.T) {
	replacing := func() *node {
		n, _ := candidateNode(t)
		_, _ = n.deliver(func(s install.FaultPoint) error { // as after a kill behind the rename
			if s == install.AtInstalled {
				return errBoom
			}
			return nil
		})
		n.publish(lines("C", 30))
		n.offer = &rollout.Offer{ID: "r2", Base: n.offer.Base}
		return n
	}
	n := replacing()
	n.target.Exec, n.target.RestoreOnFailure = n.script(`[ "$KVEXPRESS_VERSION" = 2 ]`), true
	if r, err := n.deliver(nil); err == nil || r.Action != install.Restored || r.Provisional != "r1" || n.provisional() != "r1" {
		t.Errorf("%+v, %v, noted %q", r, err, n.provisional())
	}
	for i, step := range replacing().steps() {
		t.Run(label(i, step), func(t *testing.T) {
			n := replacing()
			n.t = t
			for _, at := range []int{i + 1, 9} { // and the run after it fails, too
				_, _ = n.deliver(failAt(at))
				want := map[string]string{string(contentB()): "r1", string(lines("C", 30)): "r2"}[string(n.content())]
				if got := n.provisional(); got != want || want == "" {
					t.Errorf("it is noted as %q, want %q", got, want)
				}
			}
		})
	}
}

// After a power loss the state may not know the candidate. Then the store, without a hub, gives the current version again.
func TestCandidateWithoutItsNote(t *testing.T) {
	n, current := candidateNode(t)
	before := read(t, n.stateFile())
	n.must(install.Installed)
	write(t, n.stateFile(), before)
	if got := n.provisional(); got != "" {
		t.Fatalf("it is noted as %q", got)
	}
	n.fill(current)
	n.offer = nil
	n.target.RefuseOlder = true
	n.must(install.Installed)
	n.settle(contentA())
}

// A program without rollouts reads the state, takes the candidate for a version, and goes back with the store.
func TestCandidateStateIsReadByOlderPrograms(t *testing.T) {
	n, current := candidateNode(t)
	n.must(install.Installed)
	var old map[string]any
	if err := json.Unmarshal(read(t, n.stateFile()), &old); err != nil {
		t.Fatal(err)
	}
	delete(old, "begun")
	installed, ok := old["installed"].(map[string]any)
	if !ok {
		t.Fatalf("%v", old)
	}
	for _, field := range []string{"rollout", "base", "base_sha256"} {
		if installed[field] == nil {
			t.Errorf("the state has no %s", field)
		}
		delete(installed, field) // as a program that does not know it
	}
	b, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	write(t, n.stateFile(), b)
	n.fill(current)
	n.offer = nil
	if r := n.must(install.Installed); !strings.Contains(strings.Join(r.Notes, " "), "the store went back from 2 to 1") {
		t.Errorf("%q", r.Notes)
	}
	n.settle(contentA())
}

// A rollout has stages, so a candidate does not wait for its time, as another version does.
func TestCandidateIsNotPostponed(t *testing.T) {
	n, _ := candidateNode(t)
	n.target.Postpone = func(string) bool { return true }
	offer := n.offer
	n.offer = nil
	n.must(install.Postponed)
	n.offer = offer
	n.must(install.Installed)
}
