package observe

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// maxDiff is the size in bytes above which two contents are not compared line
// by line.
const maxDiff = 2 << 20

// Diff shows what changed from old to new, for the text of an event: a unified
// diff without its first three lines (the two file names and the first
// position), as 1.x sent it. Content that is binary or over 2 MiB gives one
// line with the sizes, equal content nothing.
func Diff(old, new []byte) string {
	summary := func(why string) string {
		return fmt.Sprintf("%s: %d bytes before, %d bytes now.", why, len(old), len(new))
	}
	switch {
	case bytes.Equal(old, new):
		return ""
	case binary(old) || binary(new):
		return summary("Binary content changed")
	case len(old) > maxDiff || len(new) > maxDiff:
		return summary("Too large to compare line by line")
	}
	before, after := string(old), string(new)
	unified, err := udiff.ToUnified("old", "new", before, udiff.Lines(before, after), udiff.DefaultContextLines)
	if err != nil {
		return summary("The change cannot be shown (" + err.Error() + ")")
	}
	for range 3 {
		_, unified, _ = strings.Cut(unified, "\n")
	}
	return unified
}

// binary decides as diff(1) does: by a NUL byte near the beginning.
func binary(b []byte) bool {
	return bytes.IndexByte(b[:min(len(b), 8<<10)], 0) >= 0
}
