package install_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// tornNode is a node whose overwrite of A by B was cut off half way.
func tornNode(t *testing.T) *node {
	t.Helper()
	for _, s := range scenarios() {
		if s.name == "mend a torn overwrite" {
			return s.start(t)
		}
	}
	t.Fatal("no such scenario")
	return nil
}

// unreachable is a store that does not answer.
type unreachable struct{ kv.Store }

func (unreachable) Read(context.Context, kv.Consistency, ...string) (kv.Snapshot, error) {
	return nil, &kv.StoreError{Op: "read", Kind: kv.ErrUnreachable}
}

// A torn file is completed from the copy in the state folder, whatever the store
// says by then.
func TestTornIsMended(t *testing.T) {
	stopped, missing := (*gate.Stopped)(nil), (*gate.Missing)(nil)
	for name, c := range map[string]struct {
		change func(n *node)
		want   func(error) bool
	}{
		"unreachable": {func(n *node) { n.store = unreachable{} }, func(err error) bool { return errors.Is(err, kv.ErrUnreachable) }},
		"stopped": {func(n *node) { n.put(n.layout.Stop(hosts), "wait", 0) },
			func(err error) bool { return errors.As(err, &stopped) }},
		"missing": {func(n *node) {
			for path := range n.rows() {
				n.remove(path)
			}
		}, func(err error) bool { return errors.As(err, &missing) }},
	} {
		t.Run(name, func(t *testing.T) {
			n := tornNode(t)
			c.change(n)
			ran := len(n.execs())
			_, err := n.deliver(nil)
			if !c.want(err) {
				t.Errorf("error %v", err)
			}
			for _, b := range append(n.torn(contentB()), n.left()...) {
				t.Error(b)
			}
			if len(n.execs()) != ran {
				t.Error("the exec ran")
			}
		})
	}
}

// Without the copy it is torn until the store gives the bytes again.
func TestTornWithoutCopy(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":    os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, tornAB(), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			n := tornNode(t)
			staged, err := filepath.Glob(filepath.Join(n.stateDir, ".staged-*", "hosts"))
			if err := errors.Join(err, spoil(staged[0])); err != nil {
				t.Fatal(err)
			}
			store := n.store
			n.store = unreachable{}
			res, err := n.deliver(nil)
			if !errors.Is(err, kv.ErrUnreachable) || !strings.Contains(strings.Join(res.Notes, " "), "is torn") {
				t.Errorf("%v, notes %q", err, res.Notes)
			}
			n.store = store
			n.settle(contentB())
		})
	}
}

// A lock freezes a torn file too: a person may work on it.
func TestTornAndLocked(t *testing.T) {
	for _, raw := range []bool{false, true} {
		n := tornNode(t)
		if raw {
			n.target.Raw = n.layout.Data(hosts)
		}
		lock := n.layout.Lock(n.target.File, "node")
		n.put(lock, "hands off", 0)
		res, err := n.deliver(nil)
		var locked *gate.Locked
		if !errors.As(err, &locked) || !strings.Contains(strings.Join(res.Notes, " "), "torn") {
			t.Errorf("raw %v: %v, notes %q", raw, err, res.Notes)
		}
		for _, b := range n.torn(tornAB()) {
			t.Errorf("raw %v: %s", raw, b)
		}
		n.remove(lock)
		n.settle(contentB())
	}
}

// A stop does not hide that the file could not be completed: for out, a stop is no error.
func TestTornAndStopped(t *testing.T) {
	n := tornNode(t)
	n.put(n.layout.Stop(hosts), "wait", 0)
	res, err := n.deliver(func(s install.FaultPoint) error {
		if s == atomicfile.AtInPlaceWrite {
			return errBoom
		}
		return nil
	})
	if stopped := (*gate.Stopped)(nil); !errors.Is(err, errBoom) || errors.As(err, &stopped) || res.Frozen != nil {
		t.Errorf("%v, frozen by %v", err, res.Frozen)
	}
	for _, b := range n.torn(tornAB()) {
		t.Error(b)
	}
	n.remove(n.layout.Stop(hosts))
	n.settle(contentB())
}

// The file was removed before the next delivery: it is created again.
func TestTornAndRemoved(t *testing.T) {
	n := tornNode(t)
	if err := os.Remove(n.target.File); err != nil {
		t.Fatal(err)
	}
	n.settle(contentB())
}

// An overwrite fails half way, and so does putting the old bytes back: the error
// says that the file is torn, and the next delivery completes it.
func TestOverwriteAndPutBackFail(t *testing.T) {
	n := scenarios()[0].start(t)
	n.target.InPlace = true
	writes := 0
	_, err := n.deliver(func(s install.FaultPoint) error {
		switch s {
		case atomicfile.AtInPlaceWrite:
			if writes++; writes > 1 {
				return errBoom
			}
		case atomicfile.AtInPlaceSync:
			write(t, n.target.File, tornAB()) // as a failing disk leaves it
			return errBoom
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "torn") {
		t.Errorf("error %v", err)
	}
	n.store, writes = unreachable{}, 0
	_, _ = n.deliver(nil)
	for _, b := range append(n.torn(contentB()), n.left()...) {
		t.Error(b)
	}
}

// An overwrite that fails half way is taken back.
func TestOverwriteIsTakenBack(t *testing.T) {
	n := scenarios()[0].start(t)
	n.target.InPlace = true
	first := true
	res, err := n.deliver(func(s install.FaultPoint) error {
		if s == atomicfile.AtInPlaceSync && first {
			first = false
			write(t, n.target.File, tornAB())
			return errBoom
		}
		return nil
	})
	if !errors.Is(err, errBoom) || res.Action != install.NoAction {
		t.Errorf("%q, %v", res.Action, err)
	}
	for _, b := range append(n.torn(contentA()), n.left()...) {
		t.Error(b)
	}
	n.settle(contentB())
}

// An in-place target keeps its inode; one that is not there yet is put there whole.
func TestInPlaceKeepsInode(t *testing.T) {
	n := newNode(t, scratch(t))
	n.target.InPlace = true
	n.publish(contentA())
	if steps := n.steps(); !slices.Contains(steps, atomicfile.AtRename) {
		t.Errorf("a new file was written in place: %q", steps)
	}
	before, err := os.Stat(n.target.File)
	if err != nil {
		t.Fatal(err)
	}
	n.publish(contentB())
	n.settle(contentB())
	after, err := os.Stat(n.target.File)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the inode is another one: %v", err)
	}
}
