package atomicfile

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openFolder opens a folder without the right to read it.
const openFolder = unix.O_PATH

// direct opens a folder in one call if its path has no symbolic link; the kernel checks that since Linux 5.6. If it returns nil,
// the walker finds out why.
func direct(path string) *Dir {
	how := &unix.OpenHow{Flags: openFolder | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	d := &Dir{path: filepath.Clean(path)}
	err := again(func() (err error) { d.fd, err = unix.Openat2(unix.AT_FDCWD, path, how); return err })
	if err != nil {
		return nil
	}
	return d
}
