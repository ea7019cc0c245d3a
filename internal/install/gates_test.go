package install_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/embedded"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// Stop and lock freeze installs, the repair of owner and mode, and pending execs. After
// they are lifted, all of it happens.
func TestFrozen(t *testing.T) {
	ways := map[string]struct {
		row  func(n *node) string
		kind func(error) bool
	}{
		"stopped": {func(n *node) string { return n.layout.Stop(hosts) }, as[*gate.Stopped]},
		"locked":  {func(n *node) string { return n.layout.Lock(n.target.File, "node") }, as[*gate.Locked]},
		"locked where it leads to": {func(n *node) string { return n.layout.Lock(filepath.Join(n.dir, "real"), "node") },
			as[*gate.Locked]},
	}
	works := map[string]func(n *node){
		"an install": func(n *node) { n.publish(contentB()) },
		"a repair": func(n *node) {
			if err := os.Chmod(n.target.File, 0o666); err != nil {
				t.Fatal(err)
			}
		},
		"a pending exec": func(n *node) {
			repair := n.failing()
			n.publish(contentB())
			n.failed(install.Installed)
			repair()
		},
	}
	for way, w := range ways {
		for work, prepare := range works {
			t.Run(way+" freezes "+work, func(t *testing.T) {
				n := newNode(t, scratch(t))
				mode := os.FileMode(0o640)
				n.target.Mode = &mode
				write(t, filepath.Join(n.dir, "real"), nil)
				if err := os.Symlink("real", n.target.File); err != nil {
					t.Fatal(err)
				}
				n.publish(contentA())
				n.settle(contentA())
				prepare(n)
				n.put(w.row(n), "because", 0)
				before, ran := n.content(), len(n.execs())
				stat, err := os.Stat(n.target.File)
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					res, err := n.deliver(nil)
					if !w.kind(err) || res.Action != install.NoAction {
						t.Fatalf("%q, %v", res.Action, err)
					}
				}
				after, err := os.Stat(n.target.File)
				if err != nil || !bytes.Equal(n.content(), before) || len(n.execs()) != ran || after.Mode() != stat.Mode() {
					t.Errorf("something was done: %v, mode %v, %d execs", err, after.Mode(), len(n.execs())-ran)
				}
				// The negative control: without the row it happens.
				n.remove(w.row(n))
				if res, err := n.deliver(nil); err != nil || res.Action == install.Unchanged {
					t.Errorf("lifted, but %q, %v", res.Action, err)
				}
				if info, err := os.Stat(n.target.File); err != nil || info.Mode().Perm() != mode {
					t.Errorf("mode %v, %v", info.Mode(), err)
				}
				n.settle(n.content())
			})
		}
	}
}

// If a target is frozen while its check runs, the file stays as it is.
func TestFrozenDuringCheck(t *testing.T) {
	for name, row := range map[string]func(n *node) string{
		"stopped": func(n *node) string { return n.layout.Stop(hosts) },
		"locked":  func(n *node) string { return n.layout.Lock(n.target.File, "node") },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			n.publish(contentA())
			n.settle(contentA())
			n.publish(contentB())
			hook := func(s install.FaultPoint) error {
				if s == install.AtCheck {
					n.put(row(n), "wait", 0)
				}
				return nil
			}
			if _, err := n.deliver(hook); !as[*gate.Stopped](err) && !as[*gate.Locked](err) {
				t.Errorf("error %v", err)
			}
			for _, b := range append(n.torn(contentA()), n.left()...) {
				t.Error(b)
			}
			n.remove(row(n))
			n.settle(contentB())
		})
	}
}

func TestIgnoreStop(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.put(n.layout.Stop(hosts), "wait", 0)
	n.target.IgnoreStop = true
	n.settle(contentA())
	n.put(n.layout.Lock(n.target.File, "node"), "mine", 0)
	n.publish(contentB())
	if _, err := n.deliver(nil); !as[*gate.Locked](err) {
		t.Errorf("a lock was ignored too: %v", err)
	}
}

// A denied row is never taken for an absent one, whether the file exists or not.
func TestDeniedIsNotAbsent(t *testing.T) {
	for name, path := range map[string]func(n *node) string{
		"data":     func(n *node) string { return n.layout.Data(hosts) },
		"checksum": func(n *node) string { return n.layout.Checksum(hosts) },
		"manifest": func(n *node) string { return n.layout.Manifest(hosts) },
		"stop":     func(n *node) string { return n.layout.Stop(hosts) },
		"lock":     func(n *node) string { return n.layout.Lock(n.target.File, "node") },
	} {
		for _, exists := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, file exists %v", name, exists), func(t *testing.T) {
				n := newNode(t, scratch(t))
				var denied string
				n.store = embedded.New(embedded.Deny(func(path string, write bool) bool { return path == denied && !write }))
				if exists {
					n.publish(contentA())
					n.settle(contentA())
				}
				n.publish(contentB())
				denied = path(n)
				before := n.content()
				res, err := n.deliver(nil)
				if !errors.Is(err, kv.ErrDenied) || res.Action != install.NoAction || !bytes.Equal(n.content(), before) {
					t.Errorf("%q, %v, %d bytes", res.Action, err, len(n.content()))
				}
				denied = "" // the negative control
				n.settle(contentB())
			})
		}
	}
}

// Content that is refused leaves the file as it is, and makes no folder.
func TestRefusedContent(t *testing.T) {
	for name, c := range map[string]struct {
		change func(n *node)
		kind   func(error) bool
	}{
		"no such key": {func(n *node) {
			for _, path := range []string{n.layout.Data(hosts), n.layout.Checksum(hosts), n.layout.Manifest(hosts)} {
				n.remove(path)
			}
		}, as[*gate.Missing]},
		"too short": {func(n *node) { n.target.MinLines = 41 }, refusedAs(gate.TooShort)},
		"empty": {func(n *node) {
			n.put(n.layout.Data(hosts), "", 0)
			n.put(n.layout.Checksum(hosts), record.Checksum(nil), 0)
		}, refusedAs(gate.Empty)},
		"not what its checksum says": {func(n *node) { n.put(n.layout.Data(hosts), "other bytes\n", 0) }, refusedAs(gate.Mismatch)},
		"without data":               {func(n *node) { n.remove(n.layout.Data(hosts)) }, refusedAs(gate.Corrupt)},
		"a manifest that needs a newer one": {func(n *node) {
			n.put(n.layout.Manifest(hosts), `{"format":2}`, 0)
		}, refusedAs(gate.NeedsNewer)},
	} {
		for _, where := range []string{"file", "no file", "no folder"} {
			t.Run(name+", "+where, func(t *testing.T) {
				n := newNode(t, scratch(t))
				switch where {
				case "file":
					write(t, n.target.File, lines("old", 50))
				case "no folder":
					n.target.File = filepath.Join(n.dir, "new", "hosts")
				}
				n.publish(contentA())
				c.change(n)
				before, beside := n.content(), len(list(t, n.dir))
				res, err := n.deliver(nil)
				if !c.kind(err) || res.Action != install.NoAction {
					t.Errorf("%q, %v", res.Action, err)
				}
				if !bytes.Equal(n.content(), before) || len(n.execs()) != 0 || len(list(t, n.dir)) != beside {
					t.Errorf("something was done: %q", list(t, n.dir))
				}
				for _, b := range n.left() {
					t.Error(b)
				}
			})
		}
	}
}

func refusedAs(reason gate.Reason) func(error) bool {
	return func(err error) bool {
		var r *gate.Refusal
		return errors.As(err, &r) && r.Reason == reason
	}
}

// The requests of a delivery.
func TestRequests(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.must(install.Installed)
	c := n.count()
	data := n.layout.Data(hosts)
	n.must(install.Unchanged)
	if reads, of := c.asked(data); reads != 1 || of != 0 {
		t.Errorf("nothing to do: %d reads, %d of the data; want 1 and 0", reads, of)
	}
	n.publish(contentB())
	c.asked(data)
	n.must(install.Installed)
	if reads, of := c.asked(data); reads != 3 || of != 1 {
		t.Errorf("a change with a check: %d reads, %d of the data; want 3 and 1", reads, of)
	}
	n.target.Check = nil
	n.publish(contentA())
	c.asked(data)
	n.must(install.Installed)
	if reads, of := c.asked(data); reads != 2 || of != 1 {
		t.Errorf("a change: %d reads, %d of the data; want 2 and 1", reads, of)
	}
}

// An install that takes long reads stop and lock again before it replaces the file, without a check, too.
func TestFrozenMeanwhile(t *testing.T) {
	for _, slow := range []install.FaultPoint{install.AtLock, install.AtBegin, atomicfile.AtCreate, atomicfile.AtSync} {
		t.Run(string(slow), func(t *testing.T) {
			dir := scratch(t)
			synctest.Test(t, func(t *testing.T) { // all of it: a bubble and the rest share no write of the store
				n := newNode(t, dir)
				n.target.Exec, n.target.Check = nil, nil
				n.publish(contentA())
				n.must(install.Installed)
				n.publish(contentB())
				res, err := n.deliver(func(p install.FaultPoint) error {
					if p == slow {
						n.put(n.layout.Lock(n.target.File, "node"), "maintenance", 0)
						<-time.After(2 * time.Second)
					}
					return nil
				})
				if !as[*gate.Locked](err) || res.Action != install.NoAction || !bytes.Equal(n.content(), contentA()) {
					t.Errorf("%s, %v", res.Action, err)
				}
			})
		})
	}
}
