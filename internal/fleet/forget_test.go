package fleet_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

func forget(t *testing.T, s kv.Store, path string) {
	t.Helper()
	if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Delete, Path: path}}); err != nil {
		t.Fatal(err)
	}
}

// Targets are dropped, and all else stays. An edit does not make a receipt younger.
func TestDrop(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	out := func(file string) fleet.Target {
		return fleet.Target{By: fleet.ByOut, Key: "hosts", File: file, Outcome: outcome.Converged}
	}
	agent := &fleet.Agent{Every: fleet.Millis(time.Minute)}
	l := newLayout(t)
	for name, c := range map[string]struct {
		receipt fleet.Receipt
		left    []string // nil: no receipt
	}{
		"one of two":               {fleet.Receipt{Targets: []fleet.Target{out("/a"), out("/b")}}, []string{"/b"}},
		"the only one":             {fleet.Receipt{Targets: []fleet.Target{out("/a")}}, nil},
		"the only one, with agent": {fleet.Receipt{Agent: agent, Targets: []fleet.Target{out("/a")}}, []string{}},
		"the only one that fits":   {fleet.Receipt{Omitted: 3, Targets: []fleet.Target{out("/a")}}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := embedded.New()
			c.receipt.Node, c.receipt.Sent = web, now
			value, flags, err := c.receipt.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: l.Node(web), Value: value, Flags: flags}}); err != nil {
				t.Fatal(err)
			}
			drop := func() []kv.Op {
				rows, err := s.Read(t.Context(), kv.Default, l.Node(web))
				if err != nil {
					t.Fatal(err)
				}
				ops, err := fleet.Drop(l, web, rows[l.Node(web)], func(t fleet.Target) bool { return t.File == "/a" })
				if err != nil {
					t.Fatal(err)
				}
				return ops
			}
			if _, err := s.Commit(t.Context(), drop()); err != nil {
				t.Fatal(err)
			}
			if ops := drop(); ops != nil {
				t.Errorf("dropped twice: %v", ops)
			}
			rows, err := s.Read(t.Context(), kv.Default, l.Node(web))
			if err != nil {
				t.Fatal(err)
			}
			if c.left == nil {
				if rows[l.Node(web)].State != kv.Absent {
					t.Errorf("it is still there: %s", rows[l.Node(web)].Value)
				}
				return
			}
			r, err := fleet.ParseReceipt(web, rows[l.Node(web)].Value, rows[l.Node(web)].Flags)
			files := []string{}
			for _, t := range r.Targets {
				files = append(files, t.File)
			}
			if err != nil || !slices.Equal(files, c.left) || !r.Sent.Equal(now) || !r.Edited || r.Omitted != c.receipt.Omitted {
				t.Errorf("left is %+v, %v", r, err)
			}
		})
	}
	any := func(fleet.Target) bool { return true }
	for value, want := range map[string]error{"<html>": fleet.ErrReceipt, "": fleet.ErrReceipt} {
		if _, err := fleet.Drop(l, web, kv.Entry{State: kv.Present, Value: []byte(value)}, any); !errors.Is(err, want) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if _, err := fleet.Drop(l, web, kv.Entry{}, any); !errors.Is(err, kv.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
}

// A node without contact does not get contact because a target of it was dropped.
func TestDroppedIsNotSeen(t *testing.T) {
	now := time.Now()
	old := fleet.Receipt{Node: "old", Sent: now.Add(-time.Hour), Agent: &fleet.Agent{Every: fleet.Millis(time.Minute)},
		Targets: []fleet.Target{{By: fleet.ByAgent, Key: "hosts", File: "/a", Outcome: outcome.Converged}}}
	fresh := old
	fresh.Node, fresh.Sent = "new", now
	for _, edited := range []bool{false, true} {
		old.Edited = edited
		roster := fleet.Roster{Read: now, Nodes: []fleet.Node{{Name: "new", Receipt: fresh, Index: 5}, {Name: "old", Receipt: old, Index: 9},
			{Name: "bad", Err: fleet.ErrReceipt, Index: 10}}}
		nodes, unread := fleet.Reporting(roster, fleet.Live{Key: "hosts"})
		if want := map[bool]string{false: "[new old] [bad]", true: "[new] [bad]"}[edited]; fmt.Sprint(nodes, unread) != want {
			t.Errorf("edited %t: %v %v, want %s", edited, nodes, unread, want)
		}
	}
}
