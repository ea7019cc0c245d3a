package command

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestCaptureKeepsBothEnds(t *testing.T) {
	all := make([]byte, 3*MaxOutput)
	for i := range all {
		all[i] = byte('a' + i%26)
	}
	const fits = keepHead + keepTail
	for _, size := range []int{0, 1, keepHead - 1, keepHead, keepHead + 1, fits - 1, fits, fits + 1, MaxOutput, len(all)} {
		for _, chunk := range []int{1, 1000, keepTail, len(all)} {
			t.Run(fmt.Sprintf("%d in pieces of %d", size, chunk), func(t *testing.T) {
				in := all[:size]
				var c capture
				for rest := in; len(rest) > 0; {
					n, err := c.Write(rest[:min(chunk, len(rest))])
					if err != nil || n != min(chunk, len(rest)) {
						t.Fatalf("wrote %d, %v", n, err)
					}
					rest = rest[n:]
				}
				want := string(in)
				if size > fits {
					want = fmt.Sprintf("%s\n[... %d bytes dropped ...]\n%s", in[:keepHead], size-fits, in[size-keepTail:])
				}
				if got := c.String(); got != want {
					t.Errorf("got %d bytes, want %d", len(got), len(want))
				}
				if held := cap(c.head) + cap(c.tail); held > 6*MaxOutput {
					t.Errorf("holds %d bytes", held)
				}
			})
		}
	}
}

func TestTheMarkFitsItsRoom(t *testing.T) {
	c := capture{
		head:  bytes.Repeat([]byte("h"), keepHead),
		tail:  bytes.Repeat([]byte("t"), keepTail),
		total: 1<<63 - 1,
	}
	if n := len(c.String()); n > MaxOutput {
		t.Errorf("the output has %d bytes", n)
	}
	if !strings.Contains(c.String(), "bytes dropped") {
		t.Error("the mark is missing")
	}
}
