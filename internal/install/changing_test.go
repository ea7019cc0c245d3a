package install_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// changing is a store that changes between the read of the small rows and the read
// of the data.
type changing struct {
	kv.Store
	data   string
	change func() error
}

func (c *changing) Read(ctx context.Context, how kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if change := c.change; change != nil && slices.Contains(paths, c.data) {
		c.change = nil
		if err := change(); err != nil {
			return nil, err
		}
	}
	return c.Store.Read(ctx, how, paths...)
}

// The store changes while the data is read. The answer may be other bytes,
// or nothing: nothing is left then, and no exec is pending for the promised bytes.
func TestInstallComesOtherwise(t *testing.T) {
	a, c := contentA(), lines("C", 30)
	for name, w := range map[string]struct {
		change func(n *node) error
		want   install.Action
		kind   func(error) bool
		after  func(n *node)
		final  []byte
	}{
		"another version":    {func(n *node) error { n.publish(c); return nil }, install.Installed, nil, nil, c},
		"the bytes in place": {func(n *node) error { n.publish(a); return nil }, install.Unchanged, nil, nil, a},
		"no answer": {func(*node) error { return &kv.StoreError{Op: "read", Kind: kv.ErrUnreachable} }, install.NoAction,
			func(err error) bool { return errors.Is(err, kv.ErrUnreachable) }, nil, contentB()},
		"a stop": {func(n *node) error { n.put(n.layout.Stop(hosts), "wait", 0); return nil }, install.NoAction,
			as[*gate.Stopped], func(n *node) { n.remove(n.layout.Stop(hosts)) }, contentB()},
		"something too short": {func(n *node) error { n.publish([]byte("x\n")); return nil }, install.NoAction,
			refusedAs(gate.TooShort), func(n *node) { n.publish(c) }, c},
		"no key": {func(n *node) error {
			for path := range n.rows() {
				n.remove(path)
			}
			return nil
		}, install.NoAction, as[*gate.Missing], func(n *node) { n.publish(c) }, c},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			n.target.MinLines = 2
			n.publish(a)
			n.settle(a)
			n.publish(contentB())
			n.store = &changing{Store: n.store, data: n.layout.Data(hosts), change: func() error { return w.change(n) }}
			ran := len(n.execs())
			res, err := n.deliver(nil)
			if res.Action != w.want || (w.kind == nil) != (err == nil) || w.kind != nil && !w.kind(err) {
				t.Fatalf("%q, %v; want %q", res.Action, err, w.want)
			}
			var s savedState
			if err := json.Unmarshal(read(t, n.stateFile()), &s); err != nil || s.Overwrite != nil {
				t.Errorf("overwrite %s, %v", s.Overwrite, err)
			}
			if w.want != install.Installed {
				if len(n.torn(a)) > 0 || len(n.execs()) != ran || s.Executed != record.Checksum(a) {
					t.Errorf("something was done, or is pending: %d execs, executed %.8s", len(n.execs())-ran, s.Executed)
				}
			}
			if w.after != nil {
				w.after(n)
			}
			n.settle(w.final)
		})
	}
}

// The answer is bytes that were in place before, with their exec: it is pending again.
func TestInstallComesAsOldBytes(t *testing.T) {
	n := newNode(t, scratch(t))
	c := lines("C", 30)
	n.publish(c)
	n.settle(c)
	repair := n.failing()
	n.publish(contentA())
	n.failed(install.Installed)
	repair()
	n.publish(contentB())
	n.store = &changing{Store: n.store, data: n.layout.Data(hosts), change: func() error { n.publish(c); return nil }}
	_, err := n.deliver(func(s install.FaultPoint) error {
		if s == install.AtExec {
			return errBoom
		}
		return nil
	})
	if !errors.Is(err, errBoom) || len(n.torn(c)) > 0 {
		t.Fatal(err)
	}
	n.must(install.ExecRan)
	n.settle(c)
}

// Another process runs the pending exec between our read of the state and our lock: it does not run twice.
func TestStateChangesBeforeTheLock(t *testing.T) {
	for _, replaced := range []bool{false, true} { // the state file: else it is overwritten
		n := newNode(t, scratch(t))
		n.publish(contentA())
		repair := n.failing()
		n.failed(install.Installed)
		repair()
		res, err := n.deliver(func(p install.FaultPoint) error {
			if p != install.AtLock {
				return nil
			}
			if replaced {
				write(t, n.base()+"/copy", read(t, n.stateFile()))
				if err := os.Rename(n.base()+"/copy", n.stateFile()); err != nil {
					return err
				}
			}
			n.must(install.ExecRan)
			return nil
		})
		if err != nil || res.Action != install.Unchanged || len(n.execs()) != 1 {
			t.Errorf("replaced %v: %q, %v, %d execs", replaced, res.Action, err, len(n.execs()))
		}
	}
}

// A program that takes no lock changes the file between our read of it and our lock: no exec runs for bytes that are gone.
func TestFileChangesBeforeTheLock(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"overwritten": func(file string) error { return os.WriteFile(file, []byte("x\n"), 0o640) },
		"replaced": func(file string) error {
			return errors.Join(os.WriteFile(file+".new", contentB(), 0o640), os.Rename(file+".new", file))
		},
		"removed": os.Remove,
	} {
		n := newNode(t, scratch(t))
		n.publish(contentA())
		repair := n.failing()
		n.failed(install.Installed)
		repair()
		changed := false
		res, err := n.deliver(func(p install.FaultPoint) error {
			if p != install.AtLock || changed {
				return nil
			}
			changed = true
			return change(n.target.File)
		})
		if err != nil || res.Action != install.Installed || len(n.torn(contentA())) > 0 || len(n.execs()) != 1 {
			t.Errorf("%s: %q, %v, %d execs", name, res.Action, err, len(n.execs()))
		}
	}
}
