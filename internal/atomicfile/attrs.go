package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ModeBits are the bits of a mode that are compared and set.
const ModeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// Attrs are set on a staged file before the rename.
type Attrs struct {
	Mode     fs.FileMode // permission, setuid, setgid and sticky bits
	UID, GID int         // negative: as the new file has them
	Like     *os.File    // its user.* attributes, SELinux label and ACL are copied; nil for a new file
}

// Owner returns the user and group of a file; -1 if the system does not tell.
func Owner(info fs.FileInfo) (uid, gid int) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid), int(s.Gid)
	}
	return -1, -1
}

// setAttrs sets owner, attributes and mode in this order: a change of owner clears setuid, and an ACL changes the group bits of
// the mode.
func setAttrs(f *os.File, a Attrs, hook FaultHook) error {
	if err := hook.Before(AtOwner); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return Explain(err)
	}
	uid, gid := Owner(info)
	if (a.UID >= 0 && uid != a.UID) || (a.GID >= 0 && gid != a.GID) {
		if err := f.Chown(a.UID, a.GID); err != nil {
			err = fmt.Errorf("give it to uid %d, gid %d: %w", a.UID, a.GID, Explain(err))
			if errors.Is(err, syscall.EINVAL) {
				err = fmt.Errorf("%w; this process is in a user namespace without one of these ids: give one of /proc/self/uid_map", err)
			}
			return err
		}
	}
	if err := hook.Before(AtXattrs); err != nil {
		return err
	}
	if a.Like != nil {
		if err := copyXattrs(a.Like, f); err != nil {
			return Explain(err)
		}
	}
	if err := hook.Before(AtMode); err != nil {
		return err
	}
	return Explain(f.Chmod(a.Mode))
}
