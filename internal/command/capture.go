package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"kvexpress/internal/safetext"
)

// MaxOutput is the most bytes of output that are kept, the mark included.
const MaxOutput = 4 << 10

// outputDelay is how long output may still come after the program's end. What
// a background child holds open must not hold us up.
const outputDelay = 500 * time.Millisecond

// capture keeps the end of all that is written to it. It never fails, so that no writer waits.
type capture struct {
	tail  []byte
	total int64
}

func (c *capture) Write(p []byte) (int, error) {
	n := len(p)
	c.total += int64(n)
	c.tail = append(c.tail, p[max(0, n-MaxOutput):]...)
	if len(c.tail) > 2*MaxOutput {
		c.tail = c.tail[:copy(c.tail, c.tail[len(c.tail)-MaxOutput:])]
	}
	return n, nil
}

// String returns whole lines from the end of the output, printable, without secrets,
// and at most MaxOutput bytes. A first line says how much is missing.
func (c *capture) String() string {
	const markRoom = 64
	text := safetext.Lines(safetext.Redact(string(c.tail)))
	dropped := c.total > int64(len(c.tail))
	if !dropped && len(text) <= MaxOutput {
		return text
	}
	text = strings.ToValidUTF8(text[max(0, len(text)-(MaxOutput-markRoom)):], "")
	if _, whole, more := strings.Cut(text, "\n"); more && whole != "" { // the first line may be half a secret
		text = whole
	}
	return fmt.Sprintf("[… the end of %d bytes of output]\n%s", c.total, text)
}

// startCaptured starts cmd with its output going to out. The function that it
// returns ends that: afterwards out is complete and does not change any more.
// The pipe is ours, not os/exec's, so that the end of the program and the end
// of its output are two events.
func startCaptured(cmd *exec.Cmd, out *capture) (closeOutput func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if _, err := os.Stat(os.DevNull); err != nil { // as in some containers; os/exec could not start anything
		stdin, nothing, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(err, r.Close(), w.Close())
		}
		defer func() { _ = stdin.Close() }() // the child has its own
		_ = nothing.Close()                  // so stdin is at its end
		cmd.Stdin = stdin
	}
	err = start(cmd)
	_ = w.Close() // the child has its own
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(out, r) // fails when we close r, and only ends the output
	}()
	return func() {
		select {
		case <-copied:
		case <-time.After(outputDelay):
		}
		_ = r.Close()
		<-copied
	}, nil
}
