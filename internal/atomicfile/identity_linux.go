package atomicfile

import (
	"io/fs"
	"syscall"
)

// Identity tells a file, and what was last done to it, from any other, as far as
// the kernel's clock of some milliseconds can. It is comparable. The second result
// is false where the system does not tell.
func Identity(info fs.FileInfo) (any, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, false
	}
	return identity{s.Dev, s.Ino, s.Size, s.Mtim, s.Ctim}, true
}

type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}
