package install_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/install"
	"kvexpress/internal/record"
)

// A target that is not a regular file is refused at once, and stays.
func TestNotRegular(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"folder": func(path string) error { return os.Mkdir(path, 0o755) },
		"FIFO":   func(path string) error { return unix.Mkfifo(path, 0o644) },
		"socket": func(path string) error {
			l, err := net.Listen("unix", path)
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		},
		"device": func(path string) error { return exec.Command("mknod", path, "c", "1", "3").Run() },
		"link to a folder": func(path string) error {
			return errors.Join(os.Mkdir(path+".d", 0o755), os.Symlink("hosts.d", path))
		},
	} {
		for _, inPlace := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				if name == "device" {
					needRoot(t)
				}
				n := newNode(t, scratch(t))
				n.target.InPlace = inPlace
				if err := make(n.target.File); err != nil {
					t.Fatal(err)
				}
				before, err := os.Lstat(n.target.File)
				if err != nil {
					t.Fatal(err)
				}
				n.publish(contentA())
				_, err = n.deliver(nil)
				kind := name[strings.LastIndexByte(name, ' ')+1:]
				if !errors.Is(err, atomicfile.ErrNotRegular) || !strings.Contains(err.Error(), kind) {
					t.Errorf("error %v", err)
				}
				after, err := os.Lstat(n.target.File)
				if err != nil || after.Mode() != before.Mode() {
					t.Errorf("it is %v now, %v", after.Mode(), err)
				}
			})
		}
	}
}

// A file that is larger than anything we deliver is replaced like any other.
func TestHugeFileIsReplaced(t *testing.T) {
	n := newNode(t, scratch(t))
	write(t, n.target.File, bytes.Repeat([]byte("x"), record.MaxPlain+1))
	n.publish(contentA())
	res := n.must(install.Installed)
	if res.Before != "" || res.Old != nil {
		t.Errorf("before %q, %d bytes", res.Before, len(res.Old))
	}
	n.settle(contentA())
}

// File names of the maximum length: the staged file and the lock folder have names that fit.
func TestLongNames(t *testing.T) {
	n := newNode(t, scratch(t))
	n.target.File = filepath.Join(n.dir, strings.Repeat("n", 255))
	n.publish(contentA())
	n.settle(contentA())
	n.target.InPlace = true
	n.publish(contentB())
	n.settle(contentB())

	n.target.File += "n"
	if _, err := n.deliver(nil); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("error %v", err)
	}
}

// Missing folders get 0755, and a new file 0640, regardless of the umask.
func TestFoldersAreMade(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077} {
		n := newNode(t, scratch(t))
		n.dir = filepath.Join(n.dir, "a", "b")
		n.target.File = filepath.Join(n.dir, "hosts")
		n.publish(contentA())
		old := unix.Umask(mask)
		n.settle(contentA())
		unix.Umask(old)
		for path, want := range map[string]os.FileMode{
			n.dir: 0o755 | os.ModeDir, filepath.Dir(n.dir): 0o755 | os.ModeDir, n.target.File: install.NewFileMode,
		} {
			if info, err := os.Stat(path); err != nil || info.Mode() != want {
				t.Errorf("umask %03o: %s: %v, %v", mask, path, info.Mode(), err)
			}
		}
	}
}

// A symbolic link is kept, and its target is replaced.
func TestLinkIsKept(t *testing.T) {
	n := newNode(t, scratch(t))
	real := filepath.Join(n.base(), "real", "hosts") // not there yet, nor its folder
	if err := os.Symlink("../real/hosts", n.target.File); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]byte{contentA(), contentB()} {
		n.publish(c)
		n.settle(c)
		if !bytes.Equal(read(t, real), c) {
			t.Error("the link leads to other bytes")
		}
		if to, err := os.Readlink(n.target.File); err != nil || to != "../real/hosts" {
			t.Errorf("the link is %q, %v", to, err)
		}
	}
	if names := list(t, filepath.Dir(real)); len(names) != 1 {
		t.Errorf("beside it: %q", names)
	}
}

// The folder is swapped for a link while we write. Nothing is written
// where the link leads to.
func TestFolderSwappedForLink(t *testing.T) {
	s := scenarios()[0]
	steps := s.start(t).steps()
	for i, step := range steps {
		if step == install.AtLock {
			continue // not opened yet
		}
		t.Run(label(i, step), func(t *testing.T) {
			n := s.start(t)
			away, victim := n.dir+".away", n.dir+".victim"
			mkdir(t, victim)
			write(t, filepath.Join(victim, "hosts"), []byte("not ours\n"))
			calls := 0
			_, err := n.deliver(func(install.FaultPoint) error {
				if calls++; calls == i+1 {
					return errors.Join(os.Rename(n.dir, away), os.Symlink(victim, n.dir))
				}
				return nil
			})
			placed := bytes.Equal(read(t, filepath.Join(away, "hosts")), contentB())
			if seen := i < slices.Index(steps, atomicfile.AtRename); seen == (err == nil) || seen == placed {
				t.Errorf("error %v, in place: %v", err, placed)
			}
			if got := list(t, victim); len(got) != 1 || string(read(t, filepath.Join(victim, "hosts"))) != "not ours\n" {
				t.Errorf("something was written where the link leads to: %q", got)
			}
			if names := list(t, away); len(names) != 1 {
				t.Errorf("left behind: %q", names)
			}
			// The negative control: a name alone would have been followed.
			if !strings.HasPrefix(string(read(t, n.target.File)), "not ours") {
				t.Error("the folder was not swapped")
			}
		})
	}
}
