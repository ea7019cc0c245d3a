package render

import (
	"bytes"
	"strings"
	"testing"
)

func TestEventDiff(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ before, after, want string }{
		{"a\n", "a\n", ""},
		{"", "a\nb\n", "+a\n+b\n"},
		{"a\nb\nc\n", "a\nB\nc\n", " a\n-b\n+B\n c\n"},
		{"a\n", "a", "-a\n+a\n\\ No newline at end of file\n"},
		{"-- a\n", "++ b\n", "--- a\n+++ b\n"},
		{"a\n", "a\x00\n", "binary content differs: 2 bytes before, 3 bytes after"},
		{strings.Repeat("a line\n", 300_000), "a\n",
			"the content differs and is too large for a diff: 2100000 bytes before, 2 bytes after"},
	} {
		if got := EventDiff([]byte(c.before), []byte(c.after)); got != c.want {
			t.Errorf("%.20q to %.20q: got %.300q, want %q", c.before, c.after, got, c.want)
		}
	}
	// Just at the limit, and nothing in common: it must end all the same.
	if got := EventDiff(bytes.Repeat([]byte("a\n"), 1<<20), bytes.Repeat([]byte("b\n"), 1<<20)); !strings.HasPrefix(got, "-a\n") {
		t.Errorf("got %.60q, want a diff", got)
	}
}
