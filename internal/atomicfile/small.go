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

// StageFile writes the next content of a small file of our own, such as a state
// file, beside it, with mode 0600. CommitFile puts it in place. The folder must be
// private, and the caller the only writer of the file.
func StageFile(path string, content []byte) error {
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	if err := errors.Join(writeAll(f, content), cause(f.Close())); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), Sweep(path))
	}
	return nil
}

// CommitFile puts what StageFile wrote in place. Not durable means: after a power
// loss (never after a crash of the process) the file may be old or damaged.
func CommitFile(path string, durable bool) error {
	if durable {
		if err := syncPath(path + newSuffix); err != nil {
			return errors.Join(fmt.Errorf("write %s: %w", path, err), Sweep(path))
		}
	}
	if err := again(func() error { return os.Rename(path+newSuffix, path) }); err != nil {
		return errors.Join(&RenameError{Path: path, Err: cause(err)}, Sweep(path))
	}
	if durable {
		if err := syncPath(filepath.Dir(path)); err != nil {
			return &SyncError{Path: filepath.Dir(path), Err: err}
		}
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return cause(err)
	}
	return errors.Join(cause(syncDir(f)), f.Close())
}

// Sweep removes what a StageFile that was killed left beside path.
func Sweep(path string) error {
	if err := syscall.Unlink(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path+newSuffix, cause(err))
	}
	return nil
}
