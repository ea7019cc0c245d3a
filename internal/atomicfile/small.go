package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// newSuffix is what the name of a small file's next content ends with.
const newSuffix = ".new"

// WriteFile replaces a small file of our own, such as a state file, durably and
// with mode 0600. The folder must be private, and the caller the only writer of the
// file.
func WriteFile(path string, content []byte) error {
	next := path + newSuffix
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	err = writeAll(f, content)
	if err == nil {
		err = cause(f.Sync())
	}
	if err := errors.Join(err, cause(f.Close())); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), Sweep(path))
	}
	if err := again(func() error { return os.Rename(next, path) }); err != nil {
		return errors.Join(&RenameError{Path: path, Err: cause(err)}, Sweep(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = errors.Join(syncDir(dir), dir.Close())
	}
	if err != nil {
		return &SyncError{Path: filepath.Dir(path), Err: cause(err)}
	}
	return nil
}

// Sweep removes what a WriteFile that was killed left beside path.
func Sweep(path string) error {
	if err := syscall.Unlink(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path+newSuffix, cause(err))
	}
	return nil
}
