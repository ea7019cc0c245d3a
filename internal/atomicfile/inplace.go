package atomicfile

import (
	"errors"
	"fmt"
	"io"
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
		return Explain(err)
	}
	defer func() { err = errors.Join(err, Explain(f.Close())) }()
	if info, err := f.Stat(); err != nil {
		return Explain(err)
	} else if !info.Mode().IsRegular() {
		return ErrNotRegular
	}
	// No O_TRUNC: between truncation and write there would be an empty file.
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Explain(err)
	}
	if err := writeAll(f, content); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(content))); err != nil {
		return Explain(err)
	}
	a.Like = nil // the inode stays, and its attributes with it
	if err := setAttrs(f, a, d.hook); err != nil {
		return err
	}
	if err := d.hook.before(StepInPlaceSync); err != nil {
		return err
	}
	return Explain(f.Sync())
}
