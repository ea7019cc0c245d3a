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

// Staged is a complete, durable file that is not in place yet. It is open for reading only, so it can be executed.
type Staged struct {
	dir  *Dir
	file *os.File
	name string
	is   unix.Stat_t // after staging
}

// Stage writes content to a new file in the lock folder of the target, under the target's name. The target must be locked.
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

// Stage writes content to a new file of the folder, sets its attributes, and fsyncs it. Others cannot read it before owner and
// mode are set. After an error nothing is left.
func (d *Dir) Stage(name string, content []byte, a Attrs) (*Staged, error) {
	s := &Staged{dir: d, name: name}
	if err := s.fill(content, a); err != nil {
		return nil, errors.Join(fmt.Errorf("write a new file in the folder %s: %w", d.path, err), s.Discard())
	}
	return s, nil
}

func (s *Staged) fill(content []byte, a Attrs) (err error) {
	hook := s.dir.hook
	if err := hook.Before(AtCreate); err != nil {
		return err
	}
	if s.file, err = s.dir.OpenFile(s.name, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL, 0o600); err != nil {
		return err
	}
	if err := hook.Before(AtWrite); err != nil {
		return err
	}
	err = s.dir.openToWrite(s.name, s.file, func(f *os.File) error { return writeAll(f, content) })
	if err != nil {
		return err
	}
	if err := setAttrs(s.file, a, hook); err != nil {
		return err
	}
	if err := hook.Before(AtSync); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return Explain(err)
	}
	return Explain(unix.Fstat(int(s.file.Fd()), &s.is))
}

// openToWrite opens the same file for writing, and calls write. A file that is open for writing cannot be executed: the lock
// keeps a process that starts meanwhile from inheriting the descriptor.
func (d *Dir) openToWrite(name string, same *os.File, write func(*os.File) error) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := d.OpenFile(name, unix.O_WRONLY|unix.O_NONBLOCK, 0) // nonblocking: a FIFO may have come in between
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

// writeAll writes content at the beginning of f. A short write is an error.
func writeAll(f *os.File, content []byte) error {
	n, err := f.Write(content)
	if err == nil && n != len(content) {
		err = io.ErrShortWrite
	}
	return Explain(err)
}

// Path is where the staged file is.
func (s *Staged) Path() string { return filepath.Join(s.dir.path, s.name) }

// Altered names what a check has changed of the staged file: its place, content, owner, mode or number of hard links; "" if
// nothing.
func (s *Staged) Altered(content []byte) (string, error) {
	now, err := s.dir.stat(s.name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("stat %s: %w", s.Path(), Explain(err))
	}
	have := make([]byte, len(content)+1)
	n, failed := s.file.ReadAt(have, 0)
	if failed != nil && !errors.Is(failed, io.EOF) {
		return "", fmt.Errorf("read %s: %w", s.Path(), Explain(failed))
	}
	switch {
	case now.Ino != s.is.Ino, now.Dev != s.is.Dev: // also if it is gone
		return "place", nil
	case !bytes.Equal(have[:n], content):
		return "content", nil
	case now.Uid != s.is.Uid, now.Gid != s.is.Gid:
		return "owner", nil
	case now.Mode != s.is.Mode:
		return "mode", nil
	case now.Nlink != 1:
		return "number of hard links", nil
	}
	return "", nil
}

// Leave closes the staged file and does not remove it.
func (s *Staged) Leave() error {
	s.name = ""
	return s.Discard()
}

// Discard removes and closes a staged file that is not in place. It may be called twice, and after Replace or Leave.
func (s *Staged) Discard() error {
	if s.file == nil {
		return nil
	}
	var err error
	if s.name != "" {
		err = s.dir.Remove(s.name)
	}
	err = errors.Join(err, Explain(s.file.Close()))
	s.file, s.name = nil, ""
	return err
}

// newSuffix ends the name of the next content of a small file.
const newSuffix = ".new"

// WriteFile replaces a small file of ours, such as a state file, durably and with mode 0600. The folder must be private, and the
// caller the only writer of the file.
func (d *Dir) WriteFile(name string, content []byte) error {
	if err := d.Sweep(name); err != nil {
		return err
	}
	staged, err := d.Stage(name+newSuffix, content, Attrs{Mode: 0o600, UID: -1, GID: -1})
	if err != nil {
		return err
	}
	t := &Target{Dir: d, Base: name}
	return errors.Join(t.Replace(staged), staged.Discard(), t.Close())
}

// Sweep removes the file that a WriteFile leaves when its process is killed.
func (d *Dir) Sweep(name string) error { return d.Remove(name + newSuffix) }
