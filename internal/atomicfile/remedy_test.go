package atomicfile

import (
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// An error of the file system names its step and a remedy.
func TestExplain(t *testing.T) {
	for want, err := range map[string]error{
		"chmod: operation not permitted; it may be immutable": &fs.PathError{Op: "chmod", Path: "/a", Err: syscall.EPERM},
		"sync: input/output error; the disk":                  &fs.PathError{Op: "sync", Path: "/a", Err: syscall.EIO},
		"no space left on device; free":                       &fs.PathError{Op: "open", Path: "/a", Err: syscall.ENOSPC},
		"invalid cross-device link; the file is not":          &os.LinkError{Op: "rename", Err: syscall.EXDEV},
	} {
		if got := Explain(err).Error(); !strings.HasPrefix(got, want) || strings.Contains(got, "/a") {
			t.Errorf("%v is explained as %q, want %q", err, got, want)
		}
	}
}
