package atomicfile

import "errors"

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
