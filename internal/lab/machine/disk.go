//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OnDisk refuses a folder that is in memory: an fsync there costs nothing.
func OnDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("the folder %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("the folder %s is in memory, where an fsync costs nothing: give one on a disk", dir)
	}
	return nil
}

// Spread asks ext4 to give each folder in dir a place of its own on the disk, as nodes
// with a disk each have. By itself it puts them all into one group of blocks, where it
// searches for a free inode past all that were freed in the last seconds: a fleet on one
// disk would spend most of its time in that search. Other file systems may refuse; they
// have no such search.
func Spread(dir string) (err error) {
	const topdir = 0x20000 // FS_TOPDIR_FL, as chattr +T
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	flags, err := unix.IoctlGetUint32(int(d.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(d.Fd()), unix.FS_IOC_SETFLAGS, int(flags|topdir))
	}
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}
