package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/atomicfile"
)

const (
	lockName = "lock"
	lockWait = time.Second // for a process that is just ending
	lockPoll = 20 * time.Millisecond
)

// lock takes the folder for this process, by an flock on the file lock in it. The file
// says who has it, for people; only the flock counts, and it ends with the process.
func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	if _, err := present(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, atomicfile.Explain(err))
	}
	for end := time.Now().Add(lockWait); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			note(f)
			return f, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			_ = f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, atomicfile.Explain(err))
		case time.Now().After(end):
			defer func() { _ = f.Close() }()
			return nil, fmt.Errorf("%s: %w by %s; end that one first, or name another folder", dir, ErrInUse, holder(f))
		default:
			<-time.After(lockPoll)
		}
	}
}

// note writes down who has the lock. Nothing depends on it, so that a full disk does no harm.
func note(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
}

// holder is who has the lock, as it says.
func holder(f *os.File) string {
	b, _ := io.ReadAll(io.NewSectionReader(f, 0, 32)) // what cannot be read is not known
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}
