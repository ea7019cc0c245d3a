package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// An error of the file system names its step and one remedy, and stays the same error.
func TestExplain(t *testing.T) {
	for want, err := range map[string]error{
		"chmod: operation not permitted; it may be immutable": &fs.PathError{Op: "chmod", Path: "/a", Err: syscall.EPERM},
		"sync: input/output error; the disk":                  &fs.PathError{Op: "sync", Path: "/a", Err: syscall.EIO},
		"no space left on device; free":                       &fs.PathError{Op: "open", Path: "/a", Err: syscall.ENOSPC},
		"invalid cross-device link; the file is not":          &os.LinkError{Op: "rename", Err: syscall.EXDEV},
		"disk quota exceeded; raise":                          &fs.PathError{Op: "open", Path: "/a", Err: syscall.EDQUOT},
		"read-only file system; the file system":              &fs.PathError{Op: "open", Path: "/a", Err: syscall.EROFS},
		"permission denied; uid":                              &fs.PathError{Op: "open", Path: "/a", Err: syscall.EACCES},
		"no such file or directory":                           &fs.PathError{Op: "open", Path: "/a", Err: syscall.ENOENT},
	} {
		got := Explain(err)
		if !strings.HasPrefix(got.Error(), want) || strings.Contains(got.Error(), "/a") || !errors.Is(got, errors.Unwrap(err)) {
			t.Errorf("%v is explained as %q, want %q", err, got, want)
		}
		if again := Explain(fmt.Errorf("set it: %w", got)); strings.Count(again.Error(), "; ") != strings.Count(got.Error(), "; ") {
			t.Errorf("said twice: %q", again)
		}
	}
	if err := Explain(nil); err != nil {
		t.Errorf("nothing is wrong, but %q", err)
	}
}
