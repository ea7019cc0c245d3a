package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/atomicfile"
)

const (
	lockWait = time.Second // for a process that is about to end
	lockPoll = 20 * time.Millisecond
)

// lockFolder creates the folder if it is missing, and locks it for this process with flock. bbolt's own lock is not enough,
// because Open replaces the file that carries it.
func lockFolder(dir string) (*os.File, error) {
	_, missing := os.Lstat(dir)
	err := os.MkdirAll(dir, 0o700)
	if err == nil && missing != nil {
		err = syncFolder(filepath.Dir(dir))
	}
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(dir, syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	}
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s: %w: it is a symbolic link or not a folder; use the path of a folder", dir, ErrFolder)
	}
	if err != nil {
		return nil, fmt.Errorf("open the folder %s: %w", dir, atomicfile.Explain(err))
	}
	info, err := f.Stat()
	if err == nil {
		err = errors.Join(ours(dir, info), flock(f))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File) error {
	for end := time.Now().Add(lockWait); ; <-time.After(lockPoll) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock the folder %s: %w", f.Name(), atomicfile.Explain(err))
		case time.Now().After(end):
			return inUse(f.Name())
		}
	}
}

func inUse(path string) error {
	return fmt.Errorf("%[1]s: %[2]w by another process; end it first (fuser -v '%[1]s' shows it), or use another folder",
		path, ErrInUse)
}

// ours checks that this user owns the path, and that no other user can write to it.
func ours(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: %w: it belongs to uid %d, and this process runs as uid %d; run it as that user, or use chown",
			path, ErrFolder, stat.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: %w: other users can write to it (mode %04o); use chmod go-w", path, ErrFolder, info.Mode().Perm())
	}
	return nil
}

// syncFolder makes new names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
