package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"kvexpress/internal/atomicfile"
)

// prepare makes the folder, for its owner alone, or checks that it is fit to hold a store.
func prepare(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(dir), 0o700); err == nil {
			err = os.Mkdir(dir, 0o700)
		}
	}
	switch {
	case err == nil: // a folder that a power loss takes away takes the store along
		return syncFolder(filepath.Dir(dir))
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("make the folder %s: %w", dir, atomicfile.Explain(err))
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the folder %s: %w", dir, atomicfile.Explain(err))
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s: %w: it is a symbolic link, and could point elsewhere tomorrow; name the folder itself", dir, ErrFolder)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w: it is no folder; name another", dir, ErrFolder)
	}
	return ours(dir, info)
}

// present reports whether a file of ours is there. What is there and is no regular file
// of ours is an error.
func present(path string) (bool, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look at %s: %w", path, atomicfile.Explain(err))
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%s: %w: it is no regular file; move it away", path, ErrFolder)
	}
	return true, ours(path, info)
}

// ours checks that nobody else owns or may change it.
func ours(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: %w: it belongs to uid %d, and this process is uid %d; run it as that user, or change the owner with chown", path, ErrFolder, stat.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: %w: others may change it (mode %04o); use chmod go-w", path, ErrFolder, info.Mode().Perm())
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err != nil {
		return fmt.Errorf("make the folder %s durable: %w", dir, atomicfile.Explain(err))
	}
	return nil
}
