package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"

	"kvexpress/internal/atomicfile"
)

// Less free space or inodes are a failure: a version has up to 16 MiB, and most have some KiB.
const (
	leastBytes  = 1 << 20
	leastInodes = 16
)

// space is nil if a file system has room. Some count no inodes.
func space(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("the file system of %s: %w", dir, atomicfile.Explain(err))
	}
	switch free := s.Bavail * uint64(s.Bsize); {
	case free < leastBytes:
		return fmt.Errorf("the file system of %s has %d KiB left; free some space, see `df %[1]s`", dir, free>>10)
	case s.Files > 0 && s.Ffree < leastInodes:
		return fmt.Errorf("the file system of %s has %d inodes left; remove some files, see `df -i %[1]s`", dir, s.Ffree)
	}
	return nil
}

// temporary names the file system of a folder if a reboot empties it.
func temporary(dir string) string {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) == nil && (s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC) {
		return "tmpfs"
	}
	return ""
}

// fixed returns why a file cannot be replaced by any user: an attribute, or a mount.
func fixed(dir, file string, inPlace bool) (problems []error) {
	for _, path := range []string{dir, file} {
		var s unix.Statx_t
		if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &s) != nil {
			continue // there is no such file yet, or the checks before this one say it
		}
		if s.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0 {
			problems = append(problems, fmt.Errorf("%s is immutable or append-only, see `lsattr -d %[1]s`; `chattr -ia %[1]s`", path))
		}
		if path == file && !inPlace && s.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			problems = append(problems, fmt.Errorf("%s is a mount, as a bind-mounted file is, and cannot be renamed over: mount its "+
				"folder instead, or overwrite it with in_place: true (--in-place)", file))
		}
	}
	return problems
}
