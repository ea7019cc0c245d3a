package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// newSuffix is what the name of a small file's next content ends with.
const newSuffix = ".new"

// WriteFile replaces a small file of our own, such as a state file, durably and
// with mode 0600. The folder must be private, and the caller the only writer of the
// file.
func (d *Dir) WriteFile(name string, content []byte) error {
	path, next := filepath.Join(d.path, name), name+newSuffix
	f, err := d.OpenFile(next, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = writeAll(f, content)
	if err == nil {
		err = Explain(f.Sync())
	}
	if err := errors.Join(err, Explain(f.Close())); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), d.Remove(next))
	}
	if err := again(func() error { return unix.Renameat(d.fd, next, d.fd, name) }); err != nil {
		return errors.Join(&RenameError{Path: path, Err: Explain(err)}, d.Remove(next))
	}
	return d.Sync()
}

// HalfWritten reports whether a WriteFile that was killed left its file behind.
func (d *Dir) HalfWritten(name string) bool { return d.Has(name + newSuffix) }

// Sweep removes that file.
func (d *Dir) Sweep(name string) error { return d.Remove(name + newSuffix) }

// Small is an open small file of our own. The caller is the only one who writes it.
// It is a bare descriptor: package os would try to have each one polled.
type Small struct {
	fd   int
	only error // why it can only be read
}

// OpenSmall opens a file and reads it: most bytes at most, and one more if there
// are more. A file that can be read, but not written, is no error yet: see Writable.
func (d *Dir) OpenSmall(name string, most int) (_ *Small, _ []byte, err error) {
	s := &Small{}
	s.fd, err = openAt(d.fd, name, unix.O_RDWR|unix.O_NOFOLLOW|openNonblock, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.only = Explain(err)
		s.fd, err = openAt(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|openNonblock, 0)
	}
	if err != nil {
		return nil, nil, Explain(err)
	}
	b := make([]byte, 2<<10) // nearly always enough
	n, err := s.read(b)
	if err == nil && n == len(b) {
		b = make([]byte, most+1)
		n, err = s.read(b)
	}
	if err != nil {
		return nil, nil, errors.Join(Explain(err), s.Close())
	}
	return s, b[:n], nil
}

func (s *Small) read(b []byte) (n int, err error) {
	for n < len(b) {
		var m int
		err := again(func() (err error) { m, err = unix.Pread(s.fd, b[n:], int64(n)); return err })
		if err != nil || m == 0 {
			return n, err
		}
		n += m
	}
	return n, nil
}

// Writable is nil, or why the file cannot be written.
func (s *Small) Writable() error { return s.only }

// Overwrite writes b over the beginning of the file, in one call.
func (s *Small) Overwrite(b []byte) error {
	if s.only != nil {
		return s.only
	}
	var n int
	err := again(func() (err error) { n, err = unix.Pwrite(s.fd, b, 0); return err })
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	return Explain(err)
}

// Close gives the file back.
func (s *Small) Close() error { return Explain(unix.Close(s.fd)) }
