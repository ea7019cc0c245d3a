package atomicfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/wait"
)

// openNonblock keeps an open from hanging on a FIFO that came in between.
const openNonblock = unix.O_NONBLOCK

// ErrBusy: another process holds the target for longer than we waited.
var ErrBusy = errors.New("another process is writing it")

// ErrNotRegular: the target is a folder, a device, a FIFO or a socket.
var ErrNotRegular = errors.New("it is not a regular file")

// Target is a target whose lock we hold. The lock is on the file itself
// (flock), so that it leaves nothing behind and excludes root's processes and
// other users' alike. Where there is no file yet it is on the folder, until
// the file is in place.
type Target struct {
	Dir  *Dir
	Base string
	// File is the target as it is now, opened for reading; nil if there is
	// none.
	File *os.File

	dirLock *os.File
}

// Lock waits until no other process of ours works on the file base of the
// folder, at most until the context ends. The error wraps ErrBusy or
// ErrNotRegular.
func (d *Dir) Lock(ctx context.Context, base string) (*Target, error) {
	path := filepath.Join(d.path, base)
	poll := wait.Backoff{Least: 12 * time.Millisecond, Most: 12 * time.Millisecond}
	for {
		t, err := d.tryLockTarget(base)
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, ErrBusy) {
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
		if err := wait.For(ctx, poll.After(0)); err != nil {
			return nil, fmt.Errorf("lock %s: %w: %w", path, ErrBusy, err)
		}
	}
}

func (d *Dir) tryLockTarget(base string) (*Target, error) {
	info, err := d.root.Lstat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return d.tryLockMissing(base)
	}
	if err != nil {
		return nil, Explain(err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w but %s", ErrNotRegular, kind(info.Mode()))
	}
	f, err := d.root.OpenFile(base, os.O_RDONLY|openNonblock, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrBusy // gone in between: look again
	}
	if err != nil {
		return nil, Explain(err)
	}
	if err := d.lockedAndInPlace(f, base); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Target{Dir: d, Base: base, File: f}, nil
}

// lockedAndInPlace takes the lock, and then makes sure that the file was not
// replaced before we had it.
func (d *Dir) lockedAndInPlace(f *os.File, base string) error {
	if err := tryLock(f); err != nil {
		return err
	}
	mine, err := f.Stat()
	if err != nil {
		return Explain(err)
	}
	now, err := d.root.Lstat(base)
	if err != nil || !os.SameFile(mine, now) {
		return ErrBusy
	}
	return nil
}

func (d *Dir) tryLockMissing(base string) (*Target, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, Explain(err)
	}
	if err := tryLock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := d.root.Lstat(base); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(ErrBusy, f.Close()) // made in between: look again
	}
	return &Target{Dir: d, Base: base, dirLock: f}, nil
}

// Replace commits the staged file and goes on holding the lock, now on the new
// file.
func (t *Target) Replace(s *Staged) error {
	if err := s.Commit(t.Base); err != nil {
		var sync *SyncError
		if errors.As(err, &sync) {
			return errors.Join(err, t.adopt(s))
		}
		return err
	}
	return t.adopt(s)
}

func (t *Target) adopt(s *Staged) error {
	old := t.File
	t.File, s.file = s.file, nil
	if old != nil {
		return Explain(old.Close())
	}
	return t.releaseDir()
}

func (t *Target) releaseDir() error {
	if t.dirLock == nil {
		return nil
	}
	err := Explain(t.dirLock.Close())
	t.dirLock = nil
	return err
}

// Close releases the lock.
func (t *Target) Close() error {
	err := t.releaseDir()
	if t.File != nil {
		err = errors.Join(err, Explain(t.File.Close()))
		t.File = nil
	}
	return err
}

func tryLock(f *os.File) error {
	err := again(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrBusy
	}
	return fmt.Errorf("lock it: %w", Explain(err))
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "a device"
}
