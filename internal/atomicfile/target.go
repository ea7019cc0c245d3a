package atomicfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotRegular: the target is a folder, a device, a FIFO or a socket.
var ErrNotRegular = errors.New("it is not a regular file")

// ErrLinks: the file has other names, and a change would show under all of them.
var ErrLinks = errors.New("the file has several hard links, and all of them would change: remove the others, " +
	"see `find -samefile`")

// Target is a file of a folder.
type Target struct {
	Dir     *Dir     // the last folder of its path that exists. The caller closes it
	Missing []string // the folders below Dir that do not exist yet
	Base    string   // name of the file, which may be missing
	File    *os.File // the file, open for reading; nil before Open, or if there is none

	was  unix.Stat_t // of the file, before it was opened
	lock *lock
}

// Open opens the file that is there now, with or without the lock.
func (t *Target) Open() error {
	if t.File != nil {
		if err := t.File.Close(); err != nil {
			return Explain(err)
		}
		t.File = nil
	}
	if len(t.Missing) > 0 {
		return nil
	}
	s, err := t.Dir.stat(t.Base)
	if err == nil && s.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("open %s: %w but %s", t.Path(), ErrNotRegular, kind(bits(s.Mode)))
	}
	var f *os.File
	if err == nil { // nonblocking: a FIFO may have come in between
		f, err = t.Dir.OpenFile(t.Base, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", t.Path(), Explain(err))
	}
	t.File, t.was = f, s
	return nil
}

// Unchanged reports whether the file is still the one that Open found, or still missing: no other file is in its place, and
// nothing has written to it or changed its owner or mode. It does not notice a write in place of the same size within the same
// tick of the kernel's clock, of up to 10 ms, as Open. A program that does not take the lock can write at any time anyway.
func (t *Target) Unchanged() bool {
	now, err := t.Dir.stat(t.Base)
	if t.File == nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	now.Atim = t.was.Atim
	return err == nil && now == t.was // the open file keeps its inode: no other file has its number
}

// Path is where the target is, without symbolic links.
func (t *Target) Path() string {
	return filepath.Join(append(append([]string{t.Dir.path}, t.Missing...), t.Base)...)
}

// Linked reports whether the target has several hard links.
func (t *Target) Linked() (bool, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(t.File.Fd()), &s); err != nil {
		return false, fmt.Errorf("stat %s: %w", t.Path(), Explain(err))
	}
	return s.Nlink > 1, nil
}

// SetAttrs corrects owner and mode of the target, and leaves its bytes alone.
func (t *Target) SetAttrs(a Attrs) error {
	a.Like = nil
	if err := setAttrs(t.File, a, t.Dir.hook); err != nil {
		return fmt.Errorf("correct owner and mode of %s: %w", t.Path(), err)
	}
	return nil
}

// Sync makes the target and its place in the folder durable.
func (t *Target) Sync() error {
	if err := t.File.Sync(); err != nil {
		return &SyncError{Path: t.Path(), Err: Explain(err)}
	}
	return t.Dir.Sync()
}

// Write replaces the target, which must be locked, by a new file: Stage and Replace.
func (t *Target) Write(content []byte, a Attrs) error {
	staged, err := t.Stage(content, a)
	if err != nil {
		return err
	}
	return errors.Join(t.Replace(staged), staged.Discard())
}

// Replace renames the staged file over the target, and makes that durable. After a *SyncError the new file is in place. After
// any other error the old one is, and the staged file is still there: call Discard.
func (t *Target) Replace(s *Staged) error {
	if err := t.Dir.stillThere(); err != nil {
		return err
	}
	if there, err := s.dir.stat(s.name); err != nil || there.Ino != s.is.Ino || there.Dev != s.is.Dev {
		return fmt.Errorf("put %s in place: %s is no longer the file that was staged", t.Path(), s.Path())
	}
	err := s.dir.hook.Before(AtRename)
	if err == nil {
		err = again(func() error { return unix.Renameat(s.dir.fd, s.name, t.Dir.fd, t.Base) })
	}
	if err != nil {
		return &RenameError{Path: t.Path(), Err: Explain(err)}
	}
	old := t.File
	t.File, s.file, s.name = s.file, nil, ""
	if old != nil {
		err = Explain(old.Close())
	}
	if failed := s.dir.hook.Before(AtSyncDir); failed != nil {
		return errors.Join(&SyncError{Path: t.Dir.path, Err: failed}, err)
	}
	return errors.Join(t.Dir.Sync(), err)
}

// RenameError: the target is still the old file.
type RenameError struct {
	Path string
	Err  error
}

func (e *RenameError) Error() string { return fmt.Sprintf("put %s in place: %v", e.Path, e.Err) }
func (e *RenameError) Unwrap() error { return e.Err }

// SyncError: the target is the new file, but a power loss may bring the old one back.
type SyncError struct {
	Path string
	Err  error
}

func (e *SyncError) Error() string { return fmt.Sprintf("make %s durable: %v", e.Path, e.Err) }
func (e *SyncError) Unwrap() error { return e.Err }

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
	return cmp.Or(map[uint32]string{unix.S_IFDIR: "a folder", unix.S_IFIFO: "a FIFO", unix.S_IFSOCK: "a socket",
		unix.S_IFLNK: "a symbolic link"}[mode&unix.S_IFMT], "a device")
}

// WriteInPlace overwrites the target, which must exist, and keeps its inode: for files that cannot be renamed over, such as bind
// mounts. Readers may see a part of the new bytes; after an error or a crash the file may stay like that. So the caller keeps a
// copy elsewhere until this returns. A file with several hard links is refused.
func (t *Target) WriteInPlace(content []byte, a Attrs) error {
	if err := t.writeInPlace(content, a); err != nil {
		return fmt.Errorf("overwrite %s: %w", t.Path(), err)
	}
	return nil
}

func (t *Target) writeInPlace(content []byte, a Attrs) error {
	hook := t.Dir.hook
	if linked, err := t.Linked(); err != nil || linked {
		return errors.Join(err, ErrLinks)
	}
	if err := hook.Before(AtInPlaceWrite); err != nil {
		return err
	}
	err := t.Dir.openToWrite(t.Base, t.File, func(f *os.File) error {
		// Not O_TRUNC: readers would see an empty file.
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return Explain(err)
		}
		if err := writeAll(f, content); err != nil {
			return err
		}
		return Explain(f.Truncate(int64(len(content))))
	})
	if err != nil {
		return err
	}
	a.Like = nil // the inode keeps its attributes
	if err := setAttrs(t.File, a, hook); err != nil {
		return err
	}
	if err := hook.Before(AtInPlaceSync); err != nil {
		return err
	}
	return Explain(t.File.Sync())
}
