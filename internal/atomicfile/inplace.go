package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
)

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
