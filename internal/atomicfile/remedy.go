package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// osError is an error of the operating system with its remedy.
type osError struct {
	err    error
	remedy string
}

func (e *osError) Error() string { return e.err.Error() + "; " + e.remedy }
func (e *osError) Unwrap() error { return e.err }

// Explain removes the path from an error of package os, because the caller names it, and adds a remedy.
func Explain(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
		if slices.Contains([]string{"write", "sync", "chmod", "chown", "truncate"}, pe.Op) { // for others the caller names the step
			err = fmt.Errorf("%s: %w", pe.Op, err)
		}
	} else if le := (*os.LinkError)(nil); errors.As(err, &le) {
		err = le.Err
	}
	var errno syscall.Errno
	if known := (*osError)(nil); errors.As(err, &known) || !errors.As(err, &errno) {
		return err
	}
	if text := Remedy(errno); text != "" {
		return &osError{err: err, remedy: text}
	}
	return err
}

// Remedy says what to do about an error that wraps a syscall.Errno; "" if there is no advice.
func Remedy(err error) string {
	for _, row := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.ENOSPC, "free some space or inodes there, see df and df -i"},
		{syscall.EDQUOT, fmt.Sprintf("raise the quota of uid %d, or free some space there", os.Geteuid())},
		{syscall.EXDEV, "the file is not on the file system of its folder: install it with --in-place (in_place: true in agent.yml)"},
		{syscall.EROFS, "the file system is mounted read-only: remount it, see mount"},
		{syscall.EACCES, fmt.Sprintf("uid %d is not allowed to do this: run it as another user", os.Geteuid())},
		{syscall.EPERM, "it may be immutable or append-only (see lsattr), or need root"},
		{syscall.EIO, "the disk may be failing, see the kernel's log"},
	} {
		if errors.Is(err, row.errno) {
			return row.text
		}
	}
	return ""
}
