//go:build linux

package scale

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"kvexpress/internal/kv"
)

// looked is what was found at a node.
type looked struct {
	right, ran    int // 1 if the file has the bytes; if the exec ran exactly once for them
	inPlace, done time.Time
}

// look finds out whether the target has exactly the content, and the exec ran once for
// each of so many versions, and when the kernel noted both. The error says what is wrong.
func (n *node) look(k kv.Key, content []byte, version uint64, sha string, versions int) (looked, error) {
	var l looked
	got, err := os.ReadFile(n.file(k))
	if err != nil {
		return l, err
	}
	if !bytes.Equal(got, content) {
		return l, fmt.Errorf("%s has %d bytes, and not those that were published", n.file(k), len(got))
	}
	l.right = 1
	file, err := os.Stat(n.file(k))
	if err != nil {
		return l, err
	}
	sys, ok := file.Sys().(*syscall.Stat_t)
	if !ok {
		return l, errors.New("this system does not tell when a file was renamed")
	}
	l.inPlace = time.Unix(sys.Ctim.Unix())
	lines, err := os.ReadFile(n.trace(k))
	if errors.Is(err, fs.ErrNotExist) {
		return l, errors.New("the exec did not run")
	}
	if err != nil {
		return l, err
	}
	trace, err := os.Stat(n.trace(k))
	if err != nil {
		return l, err
	}
	l.done = trace.ModTime()
	all := strings.Fields(string(lines)) // a version and a SHA-256 for each run
	last := strings.HasSuffix(string(lines), fmt.Sprintf("%d %s\n", version, sha))
	if once := strings.Count(string(lines), sha) == 1; !once || !last || len(all) != 2*versions {
		return l, fmt.Errorf("the exec ran %d times for %d versions: %q", len(all)/2, versions, strings.TrimSpace(string(lines)))
	}
	l.ran = 1
	return l, nil
}
