//go:build !linux

package atomicfile

import "golang.org/x/sys/unix"

const openFolder = unix.O_RDONLY
