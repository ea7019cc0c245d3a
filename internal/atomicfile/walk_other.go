//go:build !linux

package atomicfile

import "golang.org/x/sys/unix"

const openFolder = unix.O_RDONLY

// direct needs Linux.
func direct(string) *Dir { return nil }
