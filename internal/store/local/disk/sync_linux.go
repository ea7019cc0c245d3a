package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes what was written durable, and not the times that are of no use.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}
