package atomicfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kvexpress/internal/wait"
)

// lockFolder holds, beside the targets, one folder for each target that is being
// written. That folder is the lock, by flock, and the place for the staged file. Both are
// removed with the lock. Who cannot write to the target's folder cannot open them.
const lockFolder = ".kvexpress"

// showAfter is how long a wait for the lock lasts before it is shown, and how long a
// lock folder may be closed to us, as it is before its maker has set its owner.
const showAfter = time.Second

// ErrBusy: another process holds the lock of the target for longer than we waited.
var ErrBusy = errors.New("another process works on it")

// BusyError tells who holds the lock. It wraps ErrBusy.
type BusyError struct {
	Path   string
	Holder string
	Waited time.Duration
	Err    error // why the wait ended
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("lock %s: %s has held its lock for %s or more: %v; try again when it has ended", e.Path, e.Holder,
		e.Waited.Round(time.Second), e.Err)
}

// Unwrap returns ErrBusy and the cause.
func (e *BusyError) Unwrap() []error { return []error{ErrBusy, e.Err} }

// lock is a locked folder below two others.
type lock struct {
	parent *Dir
	outer  *Dir
	inner  *Dir
	why    error // why the lock is not beside the target, where nothing can be staged then
}

// Unfinished reports whether a file of the folder is locked, or was when its writer was
// killed: then Lock and Close remove the rest.
func (t *Target) Unfinished() bool { return t.Dir.Has(lockFolder) }

// Waiting is what a wait for a lock needs.
type Waiting struct {
	// Elsewhere opens the folder that the lock is in where nothing can be written beside the target, and names it.
	// Root and another user, whose state folders differ, do not exclude each other then. It may be nil.
	Elsewhere func() (parent *Dir, name string, err error)
	// Show is called once, with the holder, if the wait takes longer than a second. It may be nil.
	Show func(holder string)
}

// Lock excludes all other processes of ours, of any user, from the target, until Close.
// It waits at most until the context ends; then the error wraps ErrBusy.
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
		case errors.Is(err, errClosed) && took < showAfter, errors.Is(err, errGone), errors.Is(err, ErrBusy):
		default:
			return fmt.Errorf("lock %s: %w", t.Path(), err)
		}
		if took > showAfter && !shown && w.Show != nil {
			shown = true
			w.Show(holder(err))
		}
		if ended := wait.For(ctx, poll.After(try/8)); ended != nil {
			return &BusyError{Path: t.Path(), Holder: holder(err), Waited: time.Since(began), Err: ended}
		}
	}
}

// errGone: the folder was removed while we opened it. errClosed: it is closed to us.
var (
	errGone   = errors.New("its lock folder is made and removed all the time")
	errClosed = errors.New("its lock folder is closed")
)

// heldError: another process has locked this folder.
type heldError struct{ inode uint64 }

func (e *heldError) Error() string { return ErrBusy.Error() }
func (e *heldError) Unwrap() error { return ErrBusy }

func (t *Target) tryLock(w Waiting) (*lock, error) {
	l, err := lockIn(t.Dir, lockFolder, t.Base)
	if w.Elsewhere == nil || !errors.Is(err, errUnwritable) {
		return l, err
	}
	parent, name, failed := w.Elsewhere()
	if failed != nil {
		return nil, failed
	}
	if l, failed = lockIn(parent, "locks", name); failed != nil {
		return nil, errors.Join(failed, parent.Close())
	}
	l.why = err
	return l, nil
}

// errUnwritable: no lock folder can be made beside the target.
var errUnwritable = errors.New("nothing can be written there")

// lockIn locks the folder outer/inner of parent, which it makes.
func lockIn(parent *Dir, outer, inner string) (_ *lock, err error) {
	like, err := parent.writers()
	if err != nil {
		return nil, err
	}
	l := &lock{parent: parent}
	defer func() {
		if err != nil {
			_ = parent.removeDir(outer) // if it is empty: nothing is left, or closed by a run that was killed
			err = errors.Join(err, l.outer.Close(), l.inner.Close())
		}
	}()
	if l.outer, _, err = parent.lockable(outer, like, false); err != nil {
		return nil, err
	}
	var made bool
	if l.inner, made, err = l.outer.lockable(inner, like, true); err != nil {
		return nil, err
	}
	mine, err := l.inner.statSelf()
	if err != nil {
		return nil, err
	}
	err = again(func() error { return unix.Flock(l.inner.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &heldError{mine.Ino}
	}
	if err != nil {
		return nil, Explain(err)
	}
	if now, err := parent.stat(outer + "/" + inner); err != nil || now.Ino != mine.Ino || now.Dev != mine.Dev {
		return nil, errGone
	}
	if !made { // a run that was killed left it
		if err := l.inner.clear(); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// lockable opens a folder for a lock, which it makes if it is missing: open to like, and
// closed to all others.
func (d *Dir) lockable(name string, like writers, inner bool) (_ *Dir, made bool, err error) {
	path := filepath.Join(d.path, name)
	err = again(func() error { return unix.Mkdirat(d.fd, name, 0o700) })
	made = err == nil
	switch {
	case made, errors.Is(err, fs.ErrExist):
	case inner && errors.Is(err, fs.ErrNotExist):
		return nil, false, errGone
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, false, fmt.Errorf("%w: make the folder %s: %w", errUnwritable, path, Explain(err))
	default:
		return nil, false, fmt.Errorf("make the folder %s: %w", path, Explain(err))
	}
	sub, err := d.sub(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, errGone
	case errors.Is(err, unix.EACCES):
		if unix.Faccessat(d.fd, ".", unix.W_OK, 0) != nil {
			return nil, false, fmt.Errorf("%w: %w", errUnwritable, err)
		}
		return nil, false, fmt.Errorf("%w: %w; remove %s if no kvexpress runs", errClosed, err, path)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, false, fmt.Errorf("%s is not a folder, and kvexpress needs it for its locks: remove it", path)
	case err != nil:
		return nil, false, err
	}
	if err := sub.adjust(like, inner); err != nil {
		return nil, false, errors.Join(err, sub.Close())
	}
	return sub, made, nil
}

// writers are who can write to a folder.
type writers struct {
	uid, gid uint32
	mode     uint32 // of a lock folder: rwx for them
	acl      []byte // the same; nil if the folder has none
	sticky   bool
	shared   bool // others than the owner can write
}

func (d *Dir) writers() (w writers, err error) {
	s, err := d.statSelf()
	if err != nil {
		return w, err
	}
	mode := bits(s.Mode)
	w = writers{uid: s.Uid, gid: s.Gid, mode: 0o700 | mode&lockBits, sticky: mode&unix.S_ISVTX != 0, shared: mode&0o022 != 0}
	if mode&0o020 != 0 {
		w.mode |= 0o070
		w.acl = writersACL(d)
	}
	if mode&0o002 != 0 {
		w.mode |= 0o007
	}
	return w, nil
}

// renames reports whether each writer can rename the folders of others: one of these may stand where a lock folder should.
func (w writers) renames() bool { return w.shared && !w.sticky }

// groupLost reports whether a change of the mode would drop setgid: then the group of new files matters more than that
// other users can wait for the lock.
func (w writers) groupLost() bool {
	if w.mode&unix.S_ISGID == 0 || int(w.gid) == os.Getegid() {
		return false
	}
	groups, err := os.Getgroups()
	return err == nil && !slices.Contains(groups, int(w.gid))
}

// lockBits are what a lock folder takes over as it is: setgid, so that new files have the folder's group, and sticky.
const lockBits = unix.S_ISGID | unix.S_ISVTX

// adjust opens a lock folder to the writers of the target's folder. It refuses one of
// a user who is none.
func (d *Dir) adjust(like writers, inner bool) error {
	s, err := d.statSelf()
	if err != nil {
		return err
	}
	if (os.Geteuid() == 0 || int(s.Uid) == os.Geteuid() && !like.groupLost()) &&
		(s.Uid != like.uid || s.Gid != like.gid || bits(s.Mode)&(0o777|lockBits) != like.mode) && (!like.renames() || d.empty()) {
		if err := d.give(like); err != nil {
			return fmt.Errorf("set owner and mode of %s: %w", d.path, Explain(err))
		}
		if s, err = d.statSelf(); err != nil {
			return err
		}
	}
	if ours(s.Uid) || s.Uid == like.uid || like.renames() || like.shared && !inner {
		return nil
	}
	return fmt.Errorf("the folder %s belongs to %s, who may not write the target: remove it", d.path, userName(s.Uid))
}

// give sets what we may set.
func (d *Dir) give(like writers) error {
	for _, uid := range []int{int(like.uid), -1} {
		err := unix.Fchown(d.fd, uid, int(like.gid))
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) { // EINVAL: a container without that user
			return err
		}
	}
	if like.mode&0o070 != 0 { // else the mask of an ACL closes it
		if err := setACL(d, like.acl); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(d.fd, like.mode); !errors.Is(err, unix.EPERM) { // as of a file system without modes
		return err
	}
	return nil
}

func (l *lock) close() error {
	if l == nil {
		return nil
	}
	inner := l.outer.removeDir(filepath.Base(l.inner.path))
	if errors.Is(inner, unix.ENOTEMPTY) || errors.Is(inner, unix.EEXIST) {
		inner = errors.Join(l.inner.clear(), l.outer.removeDir(filepath.Base(l.inner.path)))
	}
	outer := l.parent.removeDir(filepath.Base(l.outer.path))
	err := errors.Join(unlessInUse(inner), unlessInUse(outer), l.inner.Close(), l.outer.Close())
	if l.why != nil {
		err = errors.Join(err, l.parent.Close())
	}
	return err
}

// unlessInUse is err unless the folder is in use, or not ours to remove: then a later run removes it.
func unlessInUse(err error) error {
	for _, fine := range []error{unix.ENOTEMPTY, unix.EEXIST, unix.EACCES, unix.EPERM, unix.EBUSY} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	return err
}

// ThisProcess is the holder of a lock that another goroutine has.
const ThisProcess = "this process"

// holder names the process that has the lock, if the kernel tells.
func holder(busy error) string {
	const unknown = "another process"
	held, ok := errors.AsType[*heldError](busy)
	if !ok {
		return unknown
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return unknown
	}
	defer func() { _ = f.Close() }() // it was read alone
	locks, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return unknown
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
			return unknown
		}
		return fmt.Sprintf("process %s (%s)", fields[4], bytes.TrimSpace(name))
	}
	return unknown
}
