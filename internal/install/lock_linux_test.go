package install_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/install"
)

// A check may leave files beside the staged one, as a compiler does in a cache folder.
func TestCheckLeavesFolders(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		n := newNode(t, scratch(t))
		write(t, n.target.File, contentB())
		n.target.InPlace = inPlace
		n.target.Check = []string{"/bin/sh", "-c", `mkdir -p "$(dirname "$0")/cache/a" && echo >"$(dirname "$0")/cache/a/b"`, install.FileMark}
		n.publish(contentA())
		n.settle(contentA())
	}
}

// A user in a folder of root, who may not read it, or not write it while root has a lock there.
func TestFolderOfRoot(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		mode     os.FileMode
		file     string
		locked   bool // by root, in a run that was killed
		installs int
	}{
		{0o711, "hosts", false, 0}, {0o755, "hosts", true, 0}, {0o733, "new", false, 1}, {0o770 | os.ModeSetgid, "theirs", false, 1},
		{0o777, "mapped", false, 1}, {0o777, "new", true, 1},
	} {
		t.Run(fmt.Sprint(c.mode, " ", c.file), func(t *testing.T) {
			n := newNode(t, scratch(t))
			self := filepath.Join(n.base(), "self")
			copySelf(t, self)
			n.target.Check, n.target.Exec = nil, nil
			n.publish(contentA())
			write(t, n.target.File, contentA())
			n.target.File = filepath.Join(n.dir, c.file)
			mkdir(t, n.stateDir)
			if err := errors.Join(os.Chown(n.stateDir, nobody, nobody), os.Chmod(n.base(), 0o755), os.Chmod(n.dir, c.mode)); err != nil {
				t.Fatal(err)
			}
			if c.file == "theirs" { // a writer by the ACL who is not in the group of the folder
				write(t, n.target.File, contentB())
				if err := errors.Join(os.Chown(n.target.File, nobody, 4242), os.Chown(n.dir, 0, 4242), os.Chmod(n.dir, c.mode),
					exec.Command("setfacl", "-m", fmt.Sprintf("u:%d:rwx", nobody), n.dir).Run()); err != nil {
					t.Fatal(err)
				}
			}
			if c.locked {
				if err := os.Mkdir(filepath.Join(n.dir, "."+c.file+".kvexpress"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			installed, _ := together(t, []job{n.job()}, func(_ int, cmd *exec.Cmd) {
				cmd.Path = self
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
				if c.file == "mapped" { // as in a container without root, which cannot name the folder's owner
					only := []syscall.SysProcIDMap{{HostID: nobody, Size: 1}}
					cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: only, GidMappings: only,
						Credential: &syscall.Credential{NoSetGroups: true}}
				}
			})
			if installed != c.installs {
				t.Errorf("%d installs", installed)
			}
		})
	}
}

// A run with nothing to do does not wait for another run.
func TestNothingToDoWaitsForNoOther(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	other, err := atomicfile.Find(n.target.File, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Lock(t.Context(), atomicfile.Waiting{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if r, err := n.deliverer(nil).Install(ctx, n.target); err != nil || r.Action != install.Unchanged {
		t.Errorf("%q, %v", r.Action, err)
	}
	if err := errors.Join(other.Close(), other.Dir.Close()); err != nil {
		t.Error(err)
	}
}
