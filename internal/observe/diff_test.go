package observe_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"kvexpress/internal/observe"
)

func TestDiff(t *testing.T) {
	numbers := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintln(&b, i)
		}
		return b.String()
	}
	large := strings.Repeat("a line\n", 300_000) // 2.1 MB
	tests := []struct{ name, old, new, want string }{
		{"equal", "a\n", "a\n", ""},
		{"both empty", "", "", ""},
		{"changed", "a\nb\nc\n", "a\nB\nc\n", " a\n-b\n+B\n c\n"},
		{"first", "", "a\nb\n", "+a\n+b\n"},
		{"emptied", "a\n", "", "-a\n"},
		{"no last newline", "a\n", "a", "-a\n+a\n\\ No newline at end of file\n"},
		{"later positions stay", numbers(30), strings.Replace(strings.Replace(numbers(30), "1\n", "one\n", 1), "25\n", "x\n", 1),
			" 0\n-1\n+one\n 2\n 3\n 4\n@@ -23,7 +23,7 @@\n 22\n 23\n 24\n-25\n+x\n 26\n 27\n 28\n"},
		{"like a header", "-- a\n", "++ b\n", "--- a\n+++ b\n"},
		{"binary", "a\n", "a\x00\n", "Binary content changed: 2 bytes before, 3 bytes now."},
		{"was binary", "\x00", "a", "Binary content changed: 1 bytes before, 1 bytes now."},
		{"large", large, "a\n", "Too large to compare line by line: 2100000 bytes before, 2 bytes now."},
		{"largest", strings.Repeat("x", 2<<20-1) + "\n", strings.Repeat("x", 2<<20-1) + "\n" + "y", "Too large to compare line by line: 2097152 bytes before, 2097153 bytes now."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := observe.Diff([]byte(tt.old), []byte(tt.new)); got != tt.want {
				t.Errorf("got\n%.500s\nwant\n%s", got, tt.want)
			}
		})
	}
	// Just at the limit, and nothing in common: it must end all the same.
	if got := observe.Diff(bytes.Repeat([]byte("a\n"), 1<<20), bytes.Repeat([]byte("b\n"), 1<<20)); !strings.HasPrefix(got, "-a\n") {
		t.Errorf("got %.60q, want a diff", got)
	}
}
