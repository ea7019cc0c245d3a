package disk

import (
	"errors"
	"fmt"
	"path/filepath"
)

// What Open and Load may fail with, besides errors of the operating system.
var (
	// ErrInUse: another process, or another Journal of this one, has the folder.
	ErrInUse = errors.New("the folder is in use")
	// ErrDamaged: what is on disk is not what was written. It is left as it is.
	ErrDamaged = errors.New("the file is damaged")
	// ErrNewer: a later version of kvexpress has written it.
	ErrNewer = errors.New("the file has a newer format")
	// ErrFolder: the folder, or a file in it, is not one to keep a store in.
	ErrFolder = errors.New("the folder cannot hold a store")
)

// damaged is an ErrDamaged with the file, the place in it and what to do.
func damaged(file, place, problem string) error {
	if place != "" {
		place += ": "
	}
	return fmt.Errorf("%[1]s: %[2]w: %[3]s%[4]s; it was left as it is: put a copy of %[5]s and %[6]s back from a backup, or move both out of %[7]s to begin with an empty store and publish anew",
		file, ErrDamaged, place, problem, fileName, logName, filepath.Dir(file))
}

// problem is what is wrong in a place of the file, whose name is not known there.
type problem struct{ place, what string }

func (p *problem) Error() string { return p.place + ": " + p.what }

func wrong(place, format string, args ...any) error {
	return &problem{place: place, what: fmt.Sprintf(format, args...)}
}
