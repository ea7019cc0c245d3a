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
	lockWait = time.Second // for a process that is just ending
	lockPoll = 20 * time.Millisecond
)

// hold takes the folder for this process, by an flock, and makes it if it is missing. bbolt's own lock is
// not enough: Open replaces the file that has it.
func hold(dir string) (*os.File, error) {
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
		return nil, fmt.Errorf("%s: %w: it is no folder, or a symbolic link; name the folder itself", dir, ErrFolder)
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
	return fmt.Errorf("%[1]s: %[2]w by another process; end that one first (fuser -v '%[1]s' names it), or name another folder",
		path, ErrInUse)
}

// ours checks that nobody else owns or may change it.
func ours(path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: %w: it belongs to uid %d, and this process is uid %d; run it as that user, or use chown",
			path, ErrFolder, stat.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: %w: others may change it (mode %04o); use chmod go-w", path, ErrFolder, info.Mode().Perm())
	}
	return nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
