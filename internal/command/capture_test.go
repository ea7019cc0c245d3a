package command

import (
	"strings"
	"testing"

	"kvexpress/internal/safetext"
)

func TestCaptureKeepsTheEnd(t *testing.T) {
	lines := strings.Repeat("a line of sixteen\n", MaxOutput)
	for _, size := range []int{0, 1, MaxOutput - 1, MaxOutput, MaxOutput + 1, 3 * MaxOutput} {
		for _, chunk := range []int{1, 1000, MaxOutput, 3 * MaxOutput} {
			in := lines[:size]
			var c capture
			for rest := in; len(rest) > 0; {
				n, err := c.Write([]byte(rest[:min(chunk, len(rest))]))
				if err != nil || n != min(chunk, len(rest)) {
					t.Fatalf("wrote %d, %v", n, err)
				}
				rest = rest[n:]
			}
			got := c.String()
			mark, end, _ := strings.Cut(got, "\n")
			switch {
			case size <= MaxOutput && got != in:
				t.Errorf("%d bytes in pieces of %d became %d", size, chunk, len(got))
			case size > MaxOutput && (len(got) > MaxOutput || len(end) < MaxOutput/2 || !strings.HasSuffix(in, "\n"+end) ||
				!strings.Contains(mark, "bytes")):
				t.Errorf("of %d bytes in pieces of %d this is kept: %q", size, chunk, got)
			}
			if cap(c.tail) > 8*MaxOutput {
				t.Errorf("it holds %d bytes", cap(c.tail))
			}
		}
	}
}

func TestCaptureIsPrintableAndWithoutSecrets(t *testing.T) {
	safetext.Hide("s3cr3t-t0ken")
	for in, want := range map[string]string{
		"plain\n":                   "plain\n",
		"a\tb\n":                    "a\tb\n",
		"\x1b[31mbad\x1b[0m\n":      "\\x1b[31mbad\\x1b[0m\n",
		"10%\r100%\r\nnext\n":       "10%\n100%\nnext\n",
		"X-Token: s3cr3t-t0ken\nok": "X-Token: (secret)\nok",
		"\xff\x00":                  `\xff\x00`,
	} {
		var c capture
		_, _ = c.Write([]byte(in))
		if got := c.String(); got != want {
			t.Errorf("%q is kept as %q, want %q", in, got, want)
		}
	}
	// Escaping makes text longer: the limit is for the escaped text. A secret that is cut shows no half.
	var c capture
	_, _ = c.Write([]byte(strings.Repeat("\x00", MaxOutput) + "\nlast"))
	if got := c.String(); len(got) > MaxOutput || !strings.HasSuffix(got, "last") {
		t.Errorf("%d bytes are kept: %q", len(got), got)
	}
	c = capture{}
	_, _ = c.Write([]byte("s3cr3t-t0ken\n" + strings.Repeat("x", 2*MaxOutput-8)))
	_, _ = c.Write([]byte("\nlast"))
	if got := c.String(); strings.Contains(got, "t0ken") {
		t.Errorf("a half of the secret shows: %q", got[:100])
	}
}
