package install_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kvexpress/internal/install"
)

// refused delivers, and wants an error of this kind with a remedy, and
// nothing touched.
func (n *node) refused(kind error, words ...string) {
	n.t.Helper()
	before, ran := n.content(), len(n.execs())
	res, err := n.deliver(nil)
	if !errors.Is(err, kind) {
		n.t.Fatalf("error %v, want %v", err, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			n.t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	if !bytes.Equal(n.content(), before) || len(n.execs()) != ran || res.Action != install.NoAction {
		n.t.Errorf("something was done: %q", res.Action)
	}
	for _, b := range n.left() {
		n.t.Error(b)
	}
}

// onDisk is a node with A, which is to get B, 20 KiB. Its target, its state or both
// are on a disk of 2 MiB.
func onDisk(t testing.TB, where string, mkfs ...string) (*disk, *node, []byte) {
	t.Helper()
	d := newDisk(t, 2, "", mkfs...)
	n := newNode(t, scratch(t))
	if strings.Contains(where, "target") {
		n.dir = filepath.Join(d.path, "etc")
		mkdir(t, n.dir)
		n.target.File = filepath.Join(n.dir, "hosts")
	}
	if strings.Contains(where, "state") {
		n.stateDir = filepath.Join(d.path, "state")
	}
	b := lines("B", 2000)
	n.publish(contentA())
	n.settle(contentA())
	n.publish(b)
	return d, n, b
}

// A disk that is full, from the first byte to the last.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		where   string
		inPlace bool
		free    int64 // bytes up to which there is no room
	}{
		{"target", false, 16 << 10}, {"state", false, 0}, {"target and state", false, 16 << 10}, {"target", true, 16 << 10},
	} {
		t.Run(fmt.Sprintf("%s, in place %v", c.where, c.inPlace), func(t *testing.T) {
			d, n, b := onDisk(t, c.where)
			n.target.InPlace = c.inPlace
			if c.where == "state" { // one that exists is written over, and needs no room
				n.forget()
			}
			for free := int64(0); free <= c.free; free += 2 << 10 {
				empty := d.fill(free)
				n.refused(syscall.ENOSPC, "inodes")
				var state *install.StateError
				if _, err := n.deliver(nil); c.where == "state" && !errors.As(err, &state) {
					t.Errorf("not a StateError: %v", err)
				}
				for _, broken := range n.torn(contentA()) {
					t.Errorf("with %d bytes free: %s", free, broken)
				}
				empty()
			}
			n.settle(b)
		})
	}
}

// A state that is there already needs no room.
func TestFullDiskForAKnownState(t *testing.T) {
	d, n, b := onDisk(t, "state")
	empty := d.fill(0)
	defer empty()
	n.settle(b)
}

// forget removes the state.
func (n *node) forget() {
	n.t.Helper()
	if err := os.Remove(n.stateFile()); err != nil {
		n.t.Fatal(err)
	}
}

// With any amount of room, the file has the old or the new bytes, and the result is true.
func TestNearlyFullDisk(t *testing.T) {
	d, n, b := onDisk(t, "target and state")
	installed := 0
	for free := int64(18 << 10); free < 40<<10; free += 1 << 10 {
		n.publish(b)
		empty := d.fill(free)
		res, err := n.deliver(nil)
		now := n.content()
		if put := res.Action == install.Installed; put != bytes.Equal(now, b) {
			t.Errorf("%d bytes free: it says %q, %v", free, res.Action, err)
		}
		for _, broken := range n.torn(contentA(), b) {
			t.Errorf("%d bytes free: %s", free, broken)
		}
		if res.Action == install.Installed {
			installed++
		}
		empty()
		n.settle(b)
		n.publish(contentA())
		n.settle(contentA())
	}
	if installed == 0 {
		t.Error("there was never enough room: the test proves little")
	}
}

// The negative control of a full disk: a plain write loses the file.
func TestFullDiskControl(t *testing.T) {
	d, n, b := onDisk(t, "target")
	empty := d.fill(4 << 10)
	defer empty()
	if err := os.WriteFile(n.target.File, b, 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if len(n.torn(contentA(), b)) == 0 {
		t.Error("a plain write on a full disk does no harm: the tests prove nothing")
	}
}

// Bytes enough, but no inode for another file.
func TestNoInodes(t *testing.T) {
	for _, where := range []string{"target", "state"} {
		t.Run(where, func(t *testing.T) {
			d, n, b := onDisk(t, where, "-N", "32")
			if where == "state" {
				n.forget()
			}
			var files []string
			for i := 0; ; i++ {
				path := filepath.Join(d.path, fmt.Sprint("empty", i))
				f, err := os.Create(path)
				if errors.Is(err, syscall.ENOSPC) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				_ = f.Close()
				files = append(files, path)
			}
			n.refused(syscall.ENOSPC, "inodes")
			for _, path := range files {
				_ = os.Remove(path)
			}
			n.settle(b)
		})
	}
}

// A file system turns read-only. A converged target on it stays converged.
func TestReadOnly(t *testing.T) {
	for _, where := range []string{"target", "state", "target and state"} {
		t.Run(where, func(t *testing.T) {
			d, n, b := onDisk(t, where)
			run(t, "mount", "-o", "remount,ro", d.path)
			n.refused(syscall.EROFS, "mounted read-only")
			n.publish(contentA()) // version 3: bytes as they are
			if res, err := n.deliver(nil); where == "target" && (err != nil || res.Action != install.Unchanged) {
				t.Errorf("with nothing to do: %q, %v", res.Action, err)
			}
			run(t, "mount", "-o", "remount,rw", d.path)
			n.publish(b)
			n.settle(b)
		})
	}
}

// With chattr +i on the file or on its folder.
func TestImmutable(t *testing.T) {
	for _, c := range []struct {
		what    string
		inPlace bool
	}{{"file", false}, {"file", true}, {"folder", false}} {
		t.Run(fmt.Sprintf("%s, in place %v", c.what, c.inPlace), func(t *testing.T) {
			_, n, b := onDisk(t, "target")
			n.target.InPlace = c.inPlace
			path := n.target.File
			if c.what == "folder" {
				path = n.dir
			}
			run(t, "chattr", "+i", path)
			t.Cleanup(func() { run(t, "chattr", "-i", path) })
			n.refused(syscall.EPERM, "immutable", "lsattr", n.dir)
			run(t, "chattr", "-i", path)
			n.settle(b)
		})
	}
}

// A bind-mounted file cannot be renamed over. The error says so, and
// --in-place does it.
func TestBindMount(t *testing.T) {
	needRoot(t)
	n := newNode(t, t.TempDir())
	source := filepath.Join(t.TempDir(), "source")
	write(t, source, nil)
	write(t, n.target.File, nil)
	run(t, "mount", "--bind", source, n.target.File)
	t.Cleanup(func() { run(t, "umount", n.target.File) })
	n.publish(contentA())
	n.refused(syscall.EBUSY, "--in-place", n.target.File)

	n.target.InPlace = true
	n.settle(contentA())
	if !bytes.Equal(read(t, source), contentA()) {
		t.Error("the source of the mount has other bytes")
	}
	n.publish(contentB())
	n.settle(contentB())
}
