package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// SweepTemps removes the staged files of base that nobody works on any more, as a
// power loss leaves them. The caller holds the lock of base, so that no staged
// file of it can be in use; one that is locked all the same (of another target
// with the same mark) is left alone.
func (t *Target) SweepTemps() error {
	f, err := t.Dir.root.Open(".")
	if err != nil {
		return fmt.Errorf("list the folder %s: %w", t.Dir.path, Explain(err))
	}
	var errs []error
	for {
		names, err := f.Readdirnames(512) // a folder may hold a million
		for _, name := range names {
			if IsTempName(name) && strings.HasPrefix(name, tempMark(t.Base)) {
				errs = append(errs, t.Dir.removeUnused(name))
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				errs = append(errs, fmt.Errorf("list the folder %s: %w", t.Dir.path, Explain(err)))
			}
			break
		}
	}
	return errors.Join(append(errs, f.Close())...)
}

func (d *Dir) removeUnused(name string) error {
	f, err := d.root.OpenFile(name, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return d.Remove(name) // gone, or not to be opened, and so not by us
	}
	if err := tryLock(f); err != nil {
		return f.Close() // in use
	}
	return errors.Join(d.Remove(name), f.Close())
}
