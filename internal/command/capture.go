package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"kvexpress/internal/safetext"
)

// MaxOutput is the most bytes of output that are kept, with the mark.
const MaxOutput = 4 << 10

// outputDelay is how long output is read after the program's end. A child in the background may keep the pipe open.
const outputDelay = 500 * time.Millisecond

// capture keeps the last bytes written to it. It never fails, so no writer waits.
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

// String returns whole lines from the end of the output, printable, without secrets, at most MaxOutput bytes. If some are
// missing, the first line says so.
func (c *capture) String() string {
	const markRoom = 64
	text := safetext.Lines(safetext.Redact(string(c.tail)))
	dropped := c.total > int64(len(c.tail))
	if !dropped && len(text) <= MaxOutput {
		return text
	}
	return fmt.Sprintf("[… the end of %d bytes of output]\n%s", c.total, safetext.End(text, MaxOutput-markRoom))
}

// startCaptured starts cmd with its output going to out. After closeOutput, out is complete. The pipe is ours, not os/exec's,
// so that the end of the program and the end of its output are two events.
func startCaptured(cmd *exec.Cmd, out *capture) (closeOutput func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if _, err := os.Stat(os.DevNull); err != nil && cmd.Stdin == nil { // as in some containers; os/exec could not start anything
		stdin, nothing, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(err, r.Close(), w.Close())
		}
		defer func() { _ = stdin.Close() }() // the child has its own
		_ = nothing.Close()                  // so stdin is at its end
		cmd.Stdin = stdin
	}
	err = cmd.Start()
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
