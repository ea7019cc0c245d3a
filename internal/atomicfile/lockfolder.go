package atomicfile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// lockName names the lock folder of a file. The folder is beside the file. A flock on it is the lock, and the staged file is
// in it. Only users who can write to the target's folder can open it. No pattern for files, such as *.conf, matches the name.
func lockName(base string) string {
	const suffix, longest = ".kvexpress", 255 // NAME_MAX
	if len(base)+len(suffix) >= longest {
		base = fmt.Sprintf("%x", sha256.Sum256([]byte(base)))
	}
	return "." + base + suffix
}

// errUnwritable: the target's folder cannot be written.
var errUnwritable = errors.New("nothing can be written there")

// openLockFolder opens a lock folder, and makes it if it is missing.
func (d *Dir) openLockFolder(name string) (_ *Dir, made bool, err error) {
	path := filepath.Join(d.path, name)
	err = again(func() error { return unix.Mkdirat(d.fd, name, 0o700) })
	made = err == nil
	switch {
	case made, errors.Is(err, fs.ErrExist):
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return nil, false, fmt.Errorf("%w: make the folder %s: %w", errUnwritable, path, Explain(err))
	default:
		return nil, false, fmt.Errorf("make the folder %s: %w", path, Explain(err))
	}
	sub, err := d.sub(name)
	switch {
	case err == nil:
		return sub, made, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, errGone
	case errors.Is(err, unix.EACCES):
		if unix.Faccessat(d.fd, ".", unix.W_OK, 0) != nil {
			return nil, false, fmt.Errorf("%w: %w", errUnwritable, err)
		}
		return nil, false, fmt.Errorf("%w: %w; remove %s if no kvexpress runs", errClosed, err, path)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, false, fmt.Errorf("%s is not a folder, and kvexpress needs it for its lock: remove it", path)
	}
	return nil, false, err
}

// writers are the users who can write to a folder.
type writers struct {
	uid, gid uint32
	mode     uint32 // of a lock folder: rwx for them
	acl      []byte // the same; nil if the folder has none
	sticky   bool
	shared   bool // others than the owner can write
}

func (d *Dir) writers() (w writers, err error) {
	s, err := d.statSelf()
	if err != nil {
		return w, err
	}
	mode := bits(s.Mode)
	w = writers{uid: s.Uid, gid: s.Gid, mode: 0o700 | mode&lockBits, sticky: mode&unix.S_ISVTX != 0, shared: mode&0o022 != 0}
	if mode&0o020 != 0 {
		w.mode |= 0o070
		w.acl = writersACL(d)
	}
	if mode&0o002 != 0 {
		w.mode |= 0o007
	}
	return w, nil
}

// rename reports whether each writer can rename the folders of others, and so put one in place of a lock folder.
func (w writers) rename() bool { return w.shared && !w.sticky }

// groupLost reports whether a change of the mode would drop setgid. The group of new files matters more than that other users
// can wait for the lock.
func (w writers) groupLost() bool {
	if w.mode&unix.S_ISGID == 0 || int(w.gid) == os.Getegid() {
		return false
	}
	groups, err := os.Getgroups()
	return err == nil && !slices.Contains(groups, int(w.gid))
}

// lockBits are copied from the target's folder: setgid, so that new files get the folder's group, and sticky.
const lockBits = unix.S_ISGID | unix.S_ISVTX

// openTo sets owner and mode of a lock folder so that only the writers of the target's folder have access. It refuses the folder
// of a user who is no writer.
func (d *Dir) openTo(w writers, s unix.Stat_t) error {
	right := s.Uid == w.uid && s.Gid == w.gid && bits(s.Mode)&(0o777|lockBits) == w.mode
	may := os.Geteuid() == 0 || int(s.Uid) == os.Geteuid() && !w.groupLost()
	if !right && may && (!w.rename() || d.empty()) {
		if err := d.give(w); err != nil {
			return fmt.Errorf("set owner and mode of %s: %w", d.path, Explain(err))
		}
		var err error
		if s, err = d.statSelf(); err != nil {
			return err
		}
	}
	if ours(s.Uid) || s.Uid == w.uid || w.rename() {
		return nil
	}
	return fmt.Errorf("the folder %s belongs to %s, who cannot write the target: remove it", d.path, userName(s.Uid))
}

// give sets what this process is allowed to set.
func (d *Dir) give(like writers) error {
	for _, uid := range []int{int(like.uid), -1} {
		err := unix.Fchown(d.fd, uid, int(like.gid))
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) { // EINVAL: a container without that user
			return err
		}
	}
	if like.mode&0o070 != 0 { // else the mask of an ACL closes it
		if err := setACL(d, like.acl); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(d.fd, like.mode); !errors.Is(err, unix.EPERM) { // as of a file system without modes
		return err
	}
	return nil
}
