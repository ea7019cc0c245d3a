package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attrs is what a staged file gets before it is put in place.
type Attrs struct {
	Mode     fs.FileMode // permission, setuid, setgid and sticky bits
	UID, GID int         // negative: as the new file has them
	// Like is the file whose user.* attributes, SELinux label and ACL are
	// taken over; nil for a new file.
	Like *os.File
}

// Staged is a complete, durable file that is not yet in place. It is open for
// reading alone, so that it can be executed.
type Staged struct {
	dir  *Dir
	file *os.File
	name string
	is   unix.Stat_t // as we left it
}

// Stage writes content to a new file in the lock folder of the target, with the
// target's name. The target must be locked.
func (t *Target) Stage(content []byte, a Attrs) (*Staged, error) {
	if t.lock.why != nil {
		return nil, fmt.Errorf("write %s: %w", t.Path(), t.lock.why)
	}
	s, err := t.lock.dir.Stage(t.Base, content, a)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", t.Path(), err)
	}
	return s, nil
}

// Stage writes content to a new file with the given name, with its attributes, and
// fsyncs it. It is not readable by others until owner and mode are right. After an
// error nothing is left.
func (d *Dir) Stage(name string, content []byte, a Attrs) (*Staged, error) {
	s := &Staged{dir: d, name: name}
	if err := s.fill(content, a); err != nil {
		return nil, errors.Join(fmt.Errorf("write a new file in the folder %s: %w", d.path, err), s.Discard())
	}
	return s, nil
}

func (s *Staged) fill(content []byte, a Attrs) (err error) {
	hook := s.dir.hook
	if err := hook.before(AtCreate); err != nil {
		return err
	}
	if s.file, err = s.dir.OpenFile(s.name, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL, 0o600); err != nil {
		return err
	}
	if err := hook.before(AtWrite); err != nil {
		return err
	}
	err = s.dir.openToWrite(s.name, s.file, func(f *os.File) error { return writeAll(f, content) })
	if err != nil {
		return err
	}
	if err := setAttrs(s.file, a, hook); err != nil {
		return err
	}
	if err := hook.before(AtSync); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return Explain(err)
	}
	return Explain(unix.Fstat(int(s.file.Fd()), &s.is))
}

// openToWrite opens the file same of the folder for writing, and calls write. No process
// that we start inherits the descriptor: a file that is open for writing cannot be
// executed.
func (d *Dir) openToWrite(name string, same *os.File, write func(*os.File) error) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := d.OpenFile(name, unix.O_WRONLY|openNonblock, 0)
	if err != nil {
		return err
	}
	a, errA := f.Stat()
	b, errB := same.Stat()
	if err := errors.Join(errA, errB); err != nil {
		return errors.Join(Explain(err), f.Close())
	}
	if !os.SameFile(a, b) {
		return errors.Join(errors.New("another process replaced it"), f.Close())
	}
	return errors.Join(write(f), Explain(f.Close()))
}

// openNonblock keeps an open from hanging on a FIFO that came in between.
const openNonblock = unix.O_NONBLOCK

// setAttrs goes from owner to attributes to mode: a change of owner clears
// setuid, and an ACL is reflected in the group bits of the mode.
func setAttrs(f *os.File, a Attrs, hook FaultHook) error {
	if err := hook.before(AtOwner); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return Explain(err)
	}
	uid, gid := Owner(info)
	if (a.UID >= 0 && uid != a.UID) || (a.GID >= 0 && gid != a.GID) {
		if err := f.Chown(a.UID, a.GID); err != nil {
			err = fmt.Errorf("give it to uid %d, gid %d: %w", a.UID, a.GID, Explain(err))
			if errors.Is(err, syscall.EINVAL) {
				err = fmt.Errorf("%w; this process is in a user namespace without one of these ids: give one of /proc/self/uid_map", err)
			}
			return err
		}
	}
	if err := hook.before(AtXattrs); err != nil {
		return err
	}
	if a.Like != nil {
		if err := copyXattrs(a.Like, f); err != nil {
			return Explain(err)
		}
	}
	if err := hook.before(AtMode); err != nil {
		return err
	}
	return Explain(f.Chmod(a.Mode))
}

// Path is where the staged file is.
func (s *Staged) Path() string { return filepath.Join(s.dir.path, s.name) }

// Altered says what a check that ran on the staged file has changed: its place, content,
// owner or mode, or its number of hard links; "" if it is as we left it.
func (s *Staged) Altered(content []byte) (string, error) {
	now, err := s.dir.stat(s.name)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && (now.Ino != s.is.Ino || now.Dev != s.is.Dev):
		return "place", nil
	case err != nil:
		return "", fmt.Errorf("stat %s: %w", s.Path(), Explain(err))
	case now.Size != int64(len(content)):
		return "content", nil
	case now.Uid != s.is.Uid || now.Gid != s.is.Gid:
		return "owner", nil
	case now.Mode != s.is.Mode:
		return "mode", nil
	case now.Nlink != 1:
		return "number of hard links", nil
	}
	have := make([]byte, len(content))
	if _, err := s.file.ReadAt(have, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read %s: %w", s.Path(), Explain(err))
	}
	if !bytes.Equal(have, content) {
		return "content", nil
	}
	return "", nil
}

// Leave closes the staged file and leaves it where it is.
func (s *Staged) Leave() error {
	s.name = ""
	return s.Discard()
}

// Discard removes a staged file that was not committed and closes it. It may
// be called twice, and after Replace or Leave.
func (s *Staged) Discard() error {
	var errs []error
	if s.file != nil {
		if s.name != "" {
			errs = append(errs, s.dir.Remove(s.name))
		}
		errs = append(errs, Explain(s.file.Close()))
		s.file, s.name = nil, ""
	}
	return errors.Join(errs...)
}

// RenameError: the target is still the old file.
type RenameError struct {
	Path string
	Err  error
}

func (e *RenameError) Error() string { return fmt.Sprintf("put %s in place: %v", e.Path, e.Err) }
func (e *RenameError) Unwrap() error { return e.Err }

// SyncError: the target is the new file, but a power loss might bring the old
// one back.
type SyncError struct {
	Path string
	Err  error
}

func (e *SyncError) Error() string { return fmt.Sprintf("make %s durable: %v", e.Path, e.Err) }
func (e *SyncError) Unwrap() error { return e.Err }
