package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteInPlace overwrites the file base, which must exist, with content, keeping
// its inode: for files that cannot be renamed over, such as bind mounts. A reader
// may see a part of the new bytes, and after an error or a crash so may
// everybody: the caller keeps a copy elsewhere until this returns.
func (d *Dir) WriteInPlace(base string, content []byte, a Attrs) (err error) {
	path := filepath.Join(d.path, base)
	defer func() {
		if err != nil {
			err = fmt.Errorf("overwrite %s: %w", path, err)
		}
	}()
	if err := d.hook.before(StepInPlaceWrite); err != nil {
		return err
	}
	f, err := d.root.OpenFile(base, os.O_WRONLY|openNonblock, 0)
	if err != nil {
		return cause(err)
	}
	defer func() { err = errors.Join(err, cause(f.Close())) }()
	if info, err := f.Stat(); err != nil {
		return cause(err)
	} else if !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	// No O_TRUNC: between truncation and write there would be an empty file.
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return cause(err)
	}
	if err := writeAll(f, content); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(content))); err != nil {
		return cause(err)
	}
	a.Like = nil // the inode stays, and its attributes with it
	if err := setAttrs(f, a, d.hook); err != nil {
		return err
	}
	if err := d.hook.before(StepInPlaceSync); err != nil {
		return err
	}
	return cause(f.Sync())
}

// WriteFile replaces a small file of our own, such as a state file, with mode
// 0600 and the current user as owner. The folder must be private, and the caller
// the only writer of the file. Not durable means: after a power loss (never after a
// crash of the process) the file may be old or damaged.
func WriteFile(path string, content []byte, durable bool, hook Hook) (err error) {
	dir, err := OpenDir(filepath.Dir(path), hook)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	base := filepath.Base(path)
	s := &Staged{dir: dir, name: base + newSuffix}
	if err := s.fillSmall(content, durable); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), s.Discard())
	}
	if err := dir.rename(s.name, base); err != nil {
		return errors.Join(&RenameError{Path: path, Err: cause(err)}, s.Discard())
	}
	s.name = ""
	if durable {
		if err := dir.Sync(); err != nil {
			return errors.Join(err, s.Discard())
		}
	}
	return s.Discard()
}

const newSuffix = ".new"

// Sweep removes what a WriteFile that was killed left beside path.
func Sweep(path string) error {
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path+newSuffix, cause(err))
	}
	return nil
}

func (s *Staged) fillSmall(content []byte, durable bool) error {
	if err := s.dir.Remove(s.name); err != nil {
		return err
	}
	f, err := s.dir.root.OpenFile(s.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return cause(err)
	}
	s.file = f
	if err := writeAll(f, content); err != nil {
		return err
	}
	if durable {
		return cause(f.Sync())
	}
	return nil
}
