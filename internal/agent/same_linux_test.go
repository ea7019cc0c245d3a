package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The lock of an agent is a file in a state folder that is its own. A link there is not followed.
func TestLockOfTheStateFolder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(dir, victim string) error
		fails bool
	}{
		"new":  {func(string, string) error { return nil }, false},
		"ours": {func(dir, _ string) error { return os.Mkdir(dir, 0o755) }, false},
		"agent.lock is a link": {func(dir, victim string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Symlink(victim, filepath.Join(dir, "agent.lock")))
		}, true},
		"others can write there":     {func(dir, _ string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) }, true},
		"a link of ours to a folder": {func(dir, victim string) error { return errors.Join(os.Mkdir(victim, 0o700), os.Symlink(victim, dir)) }, false},
	} {
		dir, victim := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "victim")
		if err := c.spoil(dir, victim); err != nil {
			t.Fatal(err)
		}
		lock, err := lockState(dir)
		if (err != nil) != c.fails {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			if _, err := os.Lstat(victim); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the link was followed: %v", name, err)
			}
			continue
		}
		if _, err := lockState(dir); err == nil {
			t.Errorf("%s: locked twice", name)
		}
		child, err := unix.Dup(int(lock.(stateLock).Fd())) // as a child has it until it runs its program
		if err := errors.Join(err, lock.Close()); err != nil {
			t.Fatal(err)
		}
		again, err := lockState(dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := errors.Join(again.Close(), unix.Close(child)); err != nil {
			t.Error(err)
		}
	}
}
