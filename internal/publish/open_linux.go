package publish

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openForWriting reports whether a process has the file open for writing: the kernel grants no read lease then. Without
// the right to a lease (another user's file, a file system without leases) it reports false.
func openForWriting(f *os.File) bool {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil { // given back at once: a writer waits for it
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // closing the file does the same
	}
	return errors.Is(err, unix.EAGAIN)
}
