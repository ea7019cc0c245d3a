package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// dirMode is the mode of parent folders that we make, whatever the umask.
const dirMode = 0o755

// Dir is the opened folder of a target.
type Dir struct {
	path string
	root *os.Root
	hook Hook
}

// MakeDirs makes the folders of path that are missing, with mode 0755, and
// makes them durable.
func MakeDirs(path string, hook Hook) error {
	missing := []string{}
	for p := path; ; p = filepath.Dir(p) {
		_, err := os.Stat(p)
		if err == nil || p == filepath.Dir(p) {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look at the folder %s: %w", p, Explain(err))
		}
		missing = append(missing, p)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := makeDir(missing[i], hook); err != nil {
			return fmt.Errorf("make the folder %s: %w", missing[i], Explain(err))
		}
	}
	return nil
}

func makeDir(path string, hook Hook) error {
	if err := hook.before(StepMakeDirs); err != nil {
		return err
	}
	if err := os.Mkdir(path, dirMode); err != nil {
		if errors.Is(err, fs.ErrExist) { // somebody else was faster
			return nil
		}
		return err
	}
	if err := os.Chmod(path, dirMode); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(syncDir(parent), parent.Close())
}

// OpenDir opens the folder of a target, which must exist.
func OpenDir(path string, hook Hook) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open the folder %s: %w", path, Explain(err))
	}
	return &Dir{path: path, root: root, hook: hook}, nil
}

// Close gives the folder back.
func (d *Dir) Close() error { return d.root.Close() }

// Remove removes a file of the folder; one that is not there is no error.
func (d *Dir) Remove(name string) error {
	err := d.root.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("remove %s: %w", filepath.Join(d.path, name), Explain(err))
}

func (d *Dir) rename(from, to string) error {
	return again(func() error { return d.root.Rename(from, to) })
}

// again repeats what a signal interrupted, which package os does not always do.
func again(do func() error) error {
	for {
		if err := do(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// stillThere fails if the path no longer leads to the folder that was opened.
func (d *Dir) stillThere() error {
	opened, err := d.root.Stat(".")
	if err != nil {
		return fmt.Errorf("look at the folder %s: %w", d.path, Explain(err))
	}
	now, err := os.Stat(d.path)
	if err != nil {
		return fmt.Errorf("look at the folder %s: %w", d.path, Explain(err))
	}
	if !os.SameFile(opened, now) {
		return fmt.Errorf("the folder %s was replaced by another while its file was being written", d.path)
	}
	return nil
}

// Sync makes the entries of the folder durable.
func (d *Dir) Sync() error {
	if err := d.sync(); err != nil {
		return &SyncError{Path: d.path, Err: Explain(err)}
	}
	return nil
}

func (d *Dir) sync() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}

// syncDir makes the entries of a folder durable. Some file systems cannot
// fsync a folder and say EINVAL or ENOTSUP; there is nothing more to be done
// there.
func syncDir(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// writeAll writes content at the beginning of f. A short write is an error.
func writeAll(f *os.File, content []byte) error {
	n, err := f.Write(content)
	if err == nil && n != len(content) {
		err = io.ErrShortWrite
	}
	return Explain(err)
}
