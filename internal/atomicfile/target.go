package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotRegular: the target is a folder, a device, a FIFO or a socket.
var ErrNotRegular = errors.New("it is not a regular file")

// Target is a file of a folder.
type Target struct {
	Dir  *Dir
	Base string
	// File is the target as it is now, opened for reading; nil if there is
	// none.
	File *os.File

	lock *lock
}

// Open opens the target as it is, without its lock.
func (d *Dir) Open(base string) (*Target, error) {
	t := &Target{Dir: d, Base: base}
	return t, t.open()
}

func (t *Target) open() (err error) {
	path := t.Path()
	s, err := t.Dir.stat(t.Base)
	if errors.Is(err, fs.ErrNotExist) {
		t.File = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", path, Explain(err))
	}
	if s.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("open %s: %w but %s", path, ErrNotRegular, kind(bits(s.Mode)))
	}
	// Nonblocking: a FIFO may have come in between.
	t.File, err = t.Dir.OpenFile(t.Base, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.File = nil
		return nil
	}
	if err != nil {
		t.File = nil
		return fmt.Errorf("open %s: %w", path, err)
	}
	return nil
}

// Path is where the target is.
func (t *Target) Path() string { return filepath.Join(t.Dir.path, t.Base) }

// Reopen opens the target again if another file is in its place by now, or if the file
// was changed since before was its Identity. It reports whether that is so.
func (t *Target) Reopen(before any) (changed bool, err error) {
	if t.File == nil {
		err = t.open()
		return t.File != nil, err
	}
	now, err := t.Dir.stat(t.Base)
	mine, failed := t.File.Stat()
	if failed != nil {
		return false, fmt.Errorf("stat %s: %w", t.Path(), Explain(failed))
	}
	if id, ok := Identity(mine); err == nil && ok && id == before && sameInode(mine, now) {
		return false, nil
	}
	if err := t.File.Close(); err != nil {
		return false, Explain(err)
	}
	return true, t.open()
}

// Replace puts the staged file in the place of the target, and makes that durable. In doubt
// the error of a rename is returned with the staged file still there: call Discard. An error
// of the folder's fsync comes after the file is in place: it is a *SyncError.
func (t *Target) Replace(s *Staged) error {
	if err := t.Dir.stillThere(); err != nil {
		return err
	}
	if there, err := s.dir.stat(s.name); err != nil || there.Ino != s.is.Ino || there.Dev != s.is.Dev {
		return fmt.Errorf("put %s in place: %s is no longer the file that was staged", t.Path(), s.Path())
	}
	if err := s.dir.hook.before(AtRename); err != nil {
		return &RenameError{Path: t.Path(), Err: err}
	}
	if err := again(func() error { return unix.Renameat(s.dir.fd, s.name, t.Dir.fd, t.Base) }); err != nil {
		return &RenameError{Path: t.Path(), Err: Explain(err)}
	}
	old := t.File
	t.File, s.file, s.name = s.file, nil, ""
	var closed error
	if old != nil {
		closed = Explain(old.Close())
	}
	if err := s.dir.hook.before(AtSyncDir); err != nil {
		return errors.Join(&SyncError{Path: t.Dir.path, Err: err}, closed)
	}
	return errors.Join(t.Dir.Sync(), closed)
}

// Close releases the lock, and closes the file.
func (t *Target) Close() error {
	if t == nil {
		return nil
	}
	err := t.lock.close()
	t.lock = nil
	if t.File != nil {
		err = errors.Join(err, Explain(t.File.Close()))
		t.File = nil
	}
	return err
}

func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a folder"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFLNK:
		return "a symbolic link"
	}
	return "a device"
}
