package atomicfile

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
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

// SetAttrs corrects owner and mode of the target without touching its bytes.
func (t *Target) SetAttrs(a Attrs) error {
	a.Like = nil
	if err := setAttrs(t.File, a, t.Dir.hook); err != nil {
		return fmt.Errorf("correct owner and mode of %s: %w", filepath.Join(t.Dir.path, t.Base), err)
	}
	return nil
}

// Sync makes the target as it is, and its place in the folder, durable.
func (t *Target) Sync() error {
	if err := t.File.Sync(); err != nil {
		return &SyncError{Path: filepath.Join(t.Dir.path, t.Base), Err: Explain(err)}
	}
	return t.Dir.Sync()
}
