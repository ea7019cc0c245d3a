package install_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kvexpress/internal/install"
)

// looks describes all of a file but its bytes.
func looks(t testing.TB, path string) string {
	t.Helper()
	var s strings.Builder
	for _, argv := range [][]string{
		{"stat", "-c", "%a %u %g", path},
		{"getfacl", "-pEn", path},
		{"getfattr", "-d", "-m", "^user\\.", "--absolute-names", path},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
		s.Write(out)
	}
	return s.String()
}

// Owner, group and mode that are not configured stay, over a replacement and an
// overwrite.
func TestAttributesAreKept(t *testing.T) {
	needRoot(t)
	for name, decorate := range map[string]func(path string){
		"mode":            func(path string) { run(t, "chmod", "0604", path) },
		"setuid":          func(path string) { run(t, "chmod", "6755", path) },
		"sticky":          func(path string) { run(t, "chmod", "1644", path) },
		"owner and group": func(path string) { run(t, "chown", "1234:5678", path) },
		"owner and setuid": func(path string) {
			run(t, "chown", "1234:5678", path)
			run(t, "chmod", "4750", path)
		},
		"attributes": func(path string) {
			run(t, "setfattr", "-n", "user.note", "-v", "by hand", path)
			run(t, "setfattr", "-n", "user.empty", path)
		},
		"ACL":               func(path string) { run(t, "setfacl", "-m", "u:1234:rw,g:5678:r,m::rw", path) },
		"masked ACL":        func(path string) { run(t, "setfacl", "-m", "u:1234:rwx,m::r", path) },
		"ACL of the folder": func(path string) { run(t, "setfacl", "-m", "d:u:1234:rwx", filepath.Dir(path)) },
		"ACL of the folder and its own": func(path string) {
			run(t, "setfacl", "-m", "u:99:r", path)
			run(t, "setfacl", "-m", "d:u:1234:rwx", filepath.Dir(path))
		},
	} {
		for _, inPlace := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				n := newNode(t, t.TempDir())
				n.target.InPlace = inPlace
				write(t, n.target.File, contentA())
				plain := looks(t, n.target.File)
				decorate(n.target.File)
				want := looks(t, n.target.File)
				if plain == want && !strings.Contains(name, "folder") {
					t.Fatal("the file looks as any other: this proves nothing")
				}
				n.publish(contentB())
				n.settle(contentB())
				if got := looks(t, n.target.File); got != want {
					t.Errorf("it looked like\n%s\nand now like\n%s", want, got)
				}
			})
		}
	}
}

// Configured owner, group and mode are set at an install, and again after drift, without
// an exec.
func TestAttributesAreMade(t *testing.T) {
	needRoot(t)
	n := newNode(t, scratch(t))
	mode, uid, gid := fs.FileMode(0o755)|fs.ModeSetgid, 1234, 5678
	n.target.Mode, n.target.UID, n.target.GID = &mode, &uid, &gid
	check := func() {
		t.Helper()
		info, err := os.Stat(n.target.File)
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != mode || int(st.Uid) != uid || int(st.Gid) != gid {
			t.Errorf("mode %v, owner %d:%d", info.Mode(), st.Uid, st.Gid)
		}
	}
	n.publish(contentA())
	n.settle(contentA())
	check()
	n.publish(contentB())
	n.settle(contentB())
	check()
	for _, drift := range [][]string{{"chmod", "0600"}, {"chown", "0"}, {"chgrp", "0"}, {"chown", "77:88"}} {
		run(t, drift[0], append(drift[1:], n.target.File)...)
		ran := len(n.execs())
		n.must(install.Repaired)
		check()
		if len(n.execs()) != ran {
			t.Error("a repair ran the exec")
		}
		n.must(install.Unchanged)
	}
}

// The group -1, which means "leave it", is no drift.
func TestGroupMinusOne(t *testing.T) {
	needRoot(t)
	n := newNode(t, scratch(t))
	gid := -1
	n.target.GID = &gid
	n.publish(contentA())
	n.settle(contentA())
}

// A private file is private while it is staged: it has its mode before it is renamed,
// and never a wider one.
func TestStagedIsPrivate(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	n := newNode(t, scratch(t))
	n.publish(contentA())
	mode := fs.FileMode(0o600)
	n.target.Mode = &mode
	looked := 0
	_, err := n.deliver(func(install.FaultPoint) error {
		for _, name := range list(t, n.dir) {
			info, err := os.Stat(filepath.Join(n.dir, name))
			if err != nil {
				return err
			}
			looked++
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
		}
		return nil
	})
	if err != nil || looked == 0 {
		t.Errorf("looked %d times, %v", looked, err)
	}
}

// The attributes of a file in one file system need not fit into the other, where
// the copy of an in-place target is staged.
func TestInPlaceAcrossFileSystems(t *testing.T) {
	needRoot(t)
	poor := t.TempDir() // ramfs has no attributes at all
	run(t, "mount", "-t", "ramfs", "ramfs", poor)
	t.Cleanup(func() { run(t, "umount", poor) })
	n := newNode(t, t.TempDir())
	n.stateDir = filepath.Join(poor, "state")
	n.target.InPlace = true
	write(t, n.target.File, contentA())
	run(t, "setfattr", "-n", "user.note", "-v", strings.Repeat("x", 1000), n.target.File)
	run(t, "setfacl", "-m", "u:1234:rw", n.target.File)
	want := looks(t, n.target.File)
	n.publish(contentB())
	n.settle(contentB())
	if got := looks(t, n.target.File); got != want {
		t.Errorf("it looked like\n%s\nand now like\n%s", want, got)
	}
}

// If a process of another user lacks rights, the error names them and a remedy.
func TestWithoutRights(t *testing.T) {
	needRoot(t)
	n := newNode(t, scratch(t))
	self := filepath.Join(n.base(), "self")
	copySelf(t, self)
	n.publish(contentB())
	n.stateDir = filepath.Join(n.base(), "state of nobody")
	mkdir(t, n.stateDir)
	if err := errors.Join(os.Chmod(n.base(), 0o755), os.Chown(n.stateDir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"cannot read": 0o600, "cannot replace": 0o644} {
		write(t, n.target.File, contentA())
		if err := os.Chmod(n.target.File, mode); err != nil {
			t.Fatal(err)
		}
		cmd := n.job().command(t)
		cmd.Path = self
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		r := parse(t, out)
		if !strings.Contains(r.Error, "65534") || !strings.Contains(r.Error, n.dir) {
			t.Errorf("%s: error %q", name, r.Error)
		}
		for _, b := range append(n.torn(contentA()), n.left()...) {
			t.Errorf("%s: %s", name, b)
		}
	}
}
