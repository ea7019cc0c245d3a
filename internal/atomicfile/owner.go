package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// ModeBits are the bits of a mode that are compared and set.
const ModeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// Owner returns the user and group that a file belongs to.
func Owner(info fs.FileInfo) (uid, gid int) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1, -1
	}
	return int(st.Uid), int(st.Gid)
}

// ErrLinks: the file has other names, under which it would change too.
var ErrLinks = errors.New("the file has several hard links, and all of them would change: remove the others, " +
	"see `find -samefile`")

// Linked reports whether the target has several hard links.
func (t *Target) Linked() (bool, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(t.File.Fd()), &s); err != nil {
		return false, fmt.Errorf("stat %s: %w", t.Path(), Explain(err))
	}
	return s.Nlink > 1, nil
}

// bits are those of a mode, which has another type on each system.
func bits[T uint16 | uint32](mode T) uint32 { return uint32(mode) }

func sameInode(info fs.FileInfo, s unix.Stat_t) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Ino == s.Ino && st.Dev == s.Dev
}

// SetAttrs corrects owner and mode of the target without touching its bytes.
func (t *Target) SetAttrs(a Attrs) error {
	a.Like = nil
	if err := setAttrs(t.File, a, t.Dir.hook); err != nil {
		return fmt.Errorf("correct owner and mode of %s: %w", t.Path(), err)
	}
	return nil
}

// Sync makes the target as it is, and its place in the folder, durable.
func (t *Target) Sync() error {
	if err := t.File.Sync(); err != nil {
		return &SyncError{Path: t.Path(), Err: Explain(err)}
	}
	return t.Dir.Sync()
}
