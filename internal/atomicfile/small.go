package atomicfile

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

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

// OpenSmall opens a small file of ours, and reads at most one byte more than most. If it can only be read, readOnly says why it
// cannot be written.
func (d *Dir) OpenSmall(name string, most int) (f *os.File, content []byte, readOnly, err error) {
	if f, err = d.OpenFile(name, unix.O_RDWR, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		readOnly = err
		f, err = d.OpenFile(name, unix.O_RDONLY, 0)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	content = make([]byte, 2<<10) // nearly always enough
	n, err := f.ReadAt(content, 0)
	if err == nil {
		content = make([]byte, most+1)
		n, err = f.ReadAt(content, 0)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, nil, errors.Join(Explain(err), f.Close())
	}
	return f, content[:n], readOnly, nil
}
