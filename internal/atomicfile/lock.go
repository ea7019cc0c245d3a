package atomicfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/wait"
)

// showAfter is how long a wait for the lock lasts before it is shown, and how long a lock folder may be closed to us: its maker
// opens it to other writers right after it is made.
const showAfter = time.Second

// ErrBusy: another process holds the lock for longer than the caller waits.
var ErrBusy = errors.New("another process works on it")

// lock is a lock folder that we have locked.
type lock struct {
	parent *Dir
	dir    *Dir
	name   string // of dir in parent
	mixed  bool   // another user may have put files there: they are not removed
	why    error  // why the lock is not beside the target, where nothing can be staged then
}

// Unfinished reports whether the target has a lock folder: another process works on it, or was killed. Lock and Close remove the
// rest of a killed one.
func (t *Target) Unfinished() bool { return t.Dir.Has(lockName(t.Base)) }

// Waiting says how to wait for a lock.
type Waiting struct {
	// Elsewhere opens the parent of the lock folder, and names the lock, if the target's folder cannot be written. Processes of
	// other users, whose state folders differ, are not excluded then. It may be nil.
	Elsewhere func() (parent *Dir, name string, err error)
	// Show is called once, with the lock holder, if the wait takes longer than a second. It may be nil.
	Show func(holder string)
}

// Lock excludes other kvexpress processes, of any user, from the target, until Close. It waits until the context ends; then the
// error wraps ErrBusy.
func (t *Target) Lock(ctx context.Context, w Waiting) (err error) {
	began, shown := time.Now(), false
	poll := wait.Backoff{Least: 12 * time.Millisecond, Most: 200 * time.Millisecond}
	for try := 0; ; try++ {
		t.lock, err = t.tryLock(w)
		took := time.Since(began)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errGone) && try < 100:
			continue // another run has just ended
		case errors.Is(err, errClosed) && took > showAfter && t.Dir.removeDir(lockName(t.Base)) == nil:
			continue // its maker was killed
		case errors.Is(err, errClosed) && took < showAfter, errors.Is(err, errGone), errors.Is(err, ErrBusy):
		default:
			return fmt.Errorf("lock %s: %w", t.Path(), err)
		}
		if took > showAfter && !shown && w.Show != nil {
			// The kernel's list can lack a line while others change it: a second look.
			if who := holder(err); who != anotherProcess || took > 2*showAfter {
				shown = true
				w.Show(who)
			}
		}
		if ended := wait.For(ctx, poll.After(try/8)); ended != nil {
			return fmt.Errorf("lock %s: %w: %s has held its lock for %s or more: %w; try again when it has ended", t.Path(), ErrBusy,
				holder(err), time.Since(began).Round(time.Second), ended)
		}
	}
}

// errGone: another process removed the lock folder while we opened it. errClosed: its mode denies us access.
var (
	errGone   = errors.New("its lock folder is made and removed all the time")
	errClosed = errors.New("its lock folder is closed")
)

// heldError: another process has locked the folder with this inode.
type heldError struct{ inode uint64 }

func (e *heldError) Error() string { return ErrBusy.Error() }
func (e *heldError) Unwrap() error { return ErrBusy }

func (t *Target) tryLock(w Waiting) (*lock, error) {
	l, err := lockIn(t.Dir, t.Base)
	if w.Elsewhere == nil || !errors.Is(err, errUnwritable) {
		return l, err
	}
	parent, name, failed := w.Elsewhere()
	if failed != nil {
		return nil, failed
	}
	if l, failed = lockIn(parent, name); failed != nil {
		return nil, errors.Join(failed, parent.Close())
	}
	l.why = err
	return l, nil
}

// lockIn makes the lock folder of a file, and locks it. Only the process that has locked a lock folder changes or removes it.
func lockIn(parent *Dir, base string) (_ *lock, err error) {
	like, err := parent.writers()
	if err != nil {
		return nil, err
	}
	l := &lock{parent: parent, name: lockName(base)}
	var made bool
	if l.dir, made, err = parent.openLockFolder(l.name); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.dir.Close())
		}
	}()
	err = again(func() error { return unix.Flock(l.dir.fd, unix.LOCK_EX|unix.LOCK_NB) })
	mine, failed := l.dir.statSelf()
	switch {
	case failed != nil:
		return nil, failed
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, &heldError{mine.Ino}
	case err != nil:
		return nil, Explain(err)
	}
	if l.mixed = !made && like.rename(); l.mixed {
		if err := l.dir.Remove(base); err != nil {
			return nil, err
		}
	}
	if err := l.dir.openTo(like, mine); err != nil {
		return nil, err
	}
	if now, err := parent.stat(l.name); err != nil || now.Ino != mine.Ino || now.Dev != mine.Dev {
		return nil, errGone
	}
	if !made && !l.mixed { // a run that was killed left it
		if err := l.dir.clear(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// close removes the lock folder, and so the lock.
func (l *lock) close() error {
	if l == nil {
		return nil
	}
	err := l.parent.removeDir(l.name)
	if !l.mixed && (errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)) {
		err = errors.Join(l.dir.clear(), l.parent.removeDir(l.name))
	}
	for _, fine := range []error{unix.ENOTEMPTY, unix.EEXIST, unix.EACCES, unix.EPERM, unix.EBUSY} {
		if errors.Is(err, fine) { // in use, or not ours to remove: a later run does
			err = nil
		}
	}
	err = errors.Join(err, l.dir.Close())
	if l.why != nil {
		err = errors.Join(err, l.parent.Close())
	}
	return err
}

// ThisProcess is the lock holder if it is another goroutine of this process.
const ThisProcess = "this process"

// anotherProcess is a lock holder that the kernel does not name.
const anotherProcess = "another process"

// holder names the process that holds the lock, if the kernel tells.
func holder(busy error) string {
	held, ok := errors.AsType[*heldError](busy)
	if !ok {
		return anotherProcess
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return anotherProcess
	}
	defer func() { _ = f.Close() }() // it was read alone
	locks, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return anotherProcess
	}
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], fmt.Sprintf(":%d", held.inode)) {
			continue
		}
		if fields[4] == strconv.Itoa(os.Getpid()) {
			return ThisProcess
		}
		name, err := os.ReadFile("/proc/" + filepath.Base(fields[4]) + "/comm")
		if err != nil {
			return anotherProcess
		}
		return fmt.Sprintf("process %s (%s)", fields[4], bytes.TrimSpace(name))
	}
	return anotherProcess
}
