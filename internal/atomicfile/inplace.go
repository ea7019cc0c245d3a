package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// WriteInPlace overwrites the target, which must exist, with content, keeping its inode:
// for files that cannot be renamed over, such as bind mounts. A reader may see a part of
// the new bytes, and after an error or a crash so may everybody: the caller keeps a copy
// elsewhere until this returns. A file with several hard links is refused.
func (t *Target) WriteInPlace(content []byte, a Attrs) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("overwrite %s: %w", t.Path(), err)
		}
	}()
	if linked, err := t.Linked(); err != nil || linked {
		return errors.Join(err, ErrLinks)
	}
	if err := t.Dir.hook.before(AtInPlaceWrite); err != nil {
		return err
	}
	err = t.Dir.openToWrite(t.Base, t.File, func(f *os.File) error {
		// No O_TRUNC: between truncation and write there would be an empty file.
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
	a.Like = nil // the inode stays, and its attributes with it
	if err := setAttrs(t.File, a, t.Dir.hook); err != nil {
		return err
	}
	if err := t.Dir.hook.before(AtInPlaceSync); err != nil {
		return err
	}
	return Explain(t.File.Sync())
}
