package install_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/install"
	"kvexpress/internal/record"
)

// script is content that can be executed.
func script(version string) []byte { return []byte("#!/bin/sh\nexec 9<\"$0\"; echo " + version + "\n") }

// A target that is executed: by its check, by its own exec, and by others all the time.
// It is never open for writing.
func TestExecutableTarget(t *testing.T) {
	t.Parallel()
	n := newNode(t, t.TempDir())
	mode := fs.FileMode(0o755)
	n.target.Mode, n.target.RestoreOnFailure = &mode, true
	n.target.Check, n.target.Exec = []string{install.FileMark, "--selftest"}, []string{n.target.File}
	n.publish(script("0"))
	n.must(install.Installed)
	var stop atomic.Bool
	var wg sync.WaitGroup
	runs, failed := 0, 0
	wg.Go(func() {
		for !stop.Load() {
			runs++
			if err := exec.Command(n.target.File).Run(); err != nil {
				failed++
				t.Log(err)
			}
		}
	})
	for i := range times(400) {
		n.publish(script(fmt.Sprint("version ", i)))
		if r := n.must(install.Installed); r.ExecPending {
			t.Error("its exec is pending")
		}
	}
	stop.Store(true)
	wg.Wait()
	if failed > 0 || runs == 0 {
		t.Errorf("%d of %d runs failed", failed, runs)
	}
}

// A user who can read the target or its folder can lock it with flock. That holds up nothing.
func TestReadersHoldNothingUp(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	hold := func(path string) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	within := func(want install.Action) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if r, err := n.deliverer(nil).Install(ctx, n.target); err != nil || r.Action != want {
			t.Fatalf("%q, %v; want %q", r.Action, err, want)
		}
	}
	hold(n.dir)
	within(install.Installed)
	hold(n.target.File)
	n.publish(contentB())
	within(install.Installed)
	within(install.Unchanged)
}

// While the exec of a group, or a delivery, waits for the lock, another process puts other bytes in place. The waiter
// then works on those, because it opens the file again after a wait.
func TestFileChangesDuringTheWait(t *testing.T) {
	for name, run := range map[string]func(n *node, d *install.Installer, target install.Target) error{
		"a group's exec": func(n *node, d *install.Installer, target install.Target) error {
			_, results, err := d.RunPending(context.Background(), []install.Target{target})
			return errors.Join(err, results[0].Err)
		},
		"a delivery": func(n *node, d *install.Installer, target install.Target) error {
			_, err := d.Install(context.Background(), target)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			n.publish(contentA())
			d := n.deliverer(nil)
			target := n.target
			target.DeferExec = true
			if r, err := d.Install(t.Context(), target); err != nil || !r.ExecPending {
				t.Fatal(err)
			}
			n.publish(contentB())
			target.DeferExec = false
			other := target
			inside, waits := make(chan bool), make(chan bool, 1)
			other.DeferExec, other.Check = true, []string{"/bin/sh", "-c", `until [ -e "$0" ]; do sleep 0.01; done`,
				filepath.Join(n.base(), "go"), install.FileMark}
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := n.deliverer(func(s install.FaultPoint) error {
					if s == install.AtCheck {
						close(inside)
					}
					return nil
				}).Install(t.Context(), other)
				if err != nil {
					t.Error(err)
				}
			})
			<-inside
			target.Waiting = func(string) { waits <- true }
			wg.Go(func() {
				if err := run(n, d, target); err != nil {
					t.Error(err)
				}
			})
			<-waits
			write(t, filepath.Join(n.base(), "go"), nil)
			wg.Wait()
			if got := n.execs(); !slices.Equal(got, []string{record.Checksum(contentB())}) {
				t.Errorf("the exec ran for %q", got)
			}
		})
	}
}

// A staged file is in no place where a service finds it by a pattern, and has the name and the extension of the target.
func TestStagedFileHasItsName(t *testing.T) {
	n := newNode(t, scratch(t))
	n.target.File = filepath.Join(n.dir, "app.conf")
	n.target.Check = []string{"/bin/sh", "-c", `ls "$0"; case $1 in */app.conf) exit 0;; esac; exit 1`, n.dir, install.FileMark}
	n.publish(contentA())
	seen := 0
	_, err := n.deliver(func(s install.FaultPoint) error {
		for _, pattern := range []string{"*.conf", "app*", ".*.conf"} { // Go's and Python's * fits a dot, too
			found, err := filepath.Glob(filepath.Join(n.dir, pattern))
			found = slices.DeleteFunc(found, func(path string) bool { return path == n.target.File })
			if err != nil || len(found) > 0 {
				t.Errorf("before %s: %q, %v", s, found, err)
			}
		}
		if entries, _ := os.ReadDir(filepath.Join(n.dir, ".app.conf.kvexpress")); len(entries) > 0 {
			seen++
		}
		return nil
	})
	if err != nil || seen == 0 {
		t.Errorf("staged: seen %d times, %v", seen, err)
	}
	for _, b := range n.left() {
		t.Error(b)
	}
}

// Links of other users are not followed, wherever they are in a path.
func TestLinksOfOthers(t *testing.T) {
	needRoot(t)
	for name, change := range map[string]func(n *node, link string){
		"in the path of the target": func(n *node, link string) { n.target.File = filepath.Join(link, "victim") },
		"as the state folder":       func(n *node, link string) { n.stateDir = link },
		"in that":                   func(n *node, link string) { n.stateDir = filepath.Join(link, "state") },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			victims := filepath.Join(n.base(), "victims")
			home := filepath.Join(n.base(), "home")
			mkdir(t, victims)
			mkdir(t, home)
			write(t, filepath.Join(victims, "victim"), []byte("tweet"))
			link := filepath.Join(home, "sub")
			if err := errors.Join(os.Symlink(victims, link), os.Lchown(link, nobody, nobody), os.Chown(home, nobody, nobody)); err != nil {
				t.Fatal(err)
			}
			uid := nobody
			n.target.UID = &uid
			n.publish(contentA())
			before := list(t, victims)
			state := n.stateDir
			change(n, link)
			if r, err := n.deliver(nil); err == nil || r.Action != install.NoAction || !strings.Contains(err.Error(), link) {
				t.Errorf("%q, %v", r.Action, err)
			}
			info, err := os.Stat(filepath.Join(victims, "victim"))
			if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || string(read(t, filepath.Join(victims, "victim"))) != "tweet" ||
				!slices.Equal(list(t, victims), before) {
				t.Errorf("the victim was touched: %v, %v", list(t, victims), err)
			}
			// The control: the folder of another user, without a link.
			n.target.File, n.stateDir = filepath.Join(home, "hosts"), state
			n.must(install.Installed)
		})
	}
}

// A state folder that another user owns or can write to is refused before anything is touched.
func TestStateFolderOfOthers(t *testing.T) {
	needRoot(t)
	for name, spoil := range map[string]func(dir string) error{
		"theirs":                  func(dir string) error { return os.Chown(dir, nobody, nobody) },
		"open to all":             func(dir string) error { return os.Chmod(dir, 0o777) },
		"open to a group":         func(dir string) error { return os.Chmod(dir, 0o770) },
		"with a folder of theirs": func(dir string) error { return os.Chown(filepath.Join(dir, "targets"), nobody, nobody) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, scratch(t))
			mkdir(t, filepath.Join(n.stateDir, "targets"))
			if err := spoil(n.stateDir); err != nil {
				t.Fatal(err)
			}
			n.publish(contentA())
			var state *install.StateError
			if r, err := n.deliver(nil); !errors.As(err, &state) || r.Action != install.NoAction || n.content() != nil {
				t.Errorf("%q, %v", r.Action, err)
			}
		})
	}
}

// One file has one state, whatever name it is given.
func TestOneFileByTwoNames(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	link := filepath.Join(n.base(), "run")
	if err := os.Symlink("etc", link); err != nil {
		t.Fatal(err)
	}
	real := n.target.File
	n.target.File = filepath.Join(link, "hosts")
	n.must(install.Installed)
	n.target.File = real
	n.must(install.Unchanged)
	if got := list(t, filepath.Join(n.stateDir, "targets")); len(got) != 1 {
		t.Errorf("states: %q", got)
	}
	for _, name := range []string{real, filepath.Join(link, "hosts")} { // a lock of the real file holds under both
		n.put(n.layout.Lock(real, "node"), "hands off", 0)
		n.target.File = name
		if _, err := n.deliver(nil); err == nil || !strings.Contains(err.Error(), "hands off") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file with other hard links is replaced by a new one for any correction,
// and never overwritten.
func TestHardLinks(t *testing.T) {
	needRoot(t)
	for _, inPlace := range []bool{false, true} {
		for _, current := range []bool{false, true} {
			n := newNode(t, scratch(t))
			n.target.InPlace = inPlace
			n.target.Exec = nil
			write(t, n.target.File, contentA())
			other := filepath.Join(n.base(), "other")
			if err := os.Link(n.target.File, other); err != nil {
				t.Fatal(err)
			}
			uid, want := nobody, install.Repaired
			n.target.UID = &uid
			content := contentA()
			if !current {
				content, want = contentB(), install.Installed
			}
			n.publish(content)
			if inPlace {
				want = install.NoAction
			}
			if r, err := n.deliver(nil); r.Action != want || (err != nil) != inPlace {
				t.Errorf("in place %v, current %v: %q, %v; want %q", inPlace, current, r.Action, err, want)
			}
			info, err := os.Stat(other)
			if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || string(read(t, other)) != string(contentA()) {
				t.Errorf("in place %v, current %v: the other name was changed: %v", inPlace, current, err)
			}
			for _, b := range n.left() {
				t.Error(b)
			}
			if !inPlace {
				n.must(install.Unchanged)
			}
		}
	}
}

// A run with nothing to do takes no lock, and changes nothing.
func TestNothingToDoTakesNoLock(t *testing.T) {
	for name, change := range map[string]func(n *node){
		"nothing": func(*node) {},
		"stopped": func(n *node) { n.publish(contentB()); n.put(n.layout.Stop(hosts), "wait", 0) },
		"refused": func(n *node) { n.target.MinLines = 1000 },
		"raw": func(n *node) {
			n.target.Raw, n.target.Key = n.layout.Data(hosts), ""
			n.must(install.Unchanged)
		},
	} {
		n := newNode(t, scratch(t))
		n.publish(contentA())
		n.settle(contentA())
		change(n)
		for _, s := range n.steps() {
			if s != install.AtRead && s != install.AtReadData {
				t.Errorf("%s: it comes to the step %s", name, s)
			}
		}
	}
}
