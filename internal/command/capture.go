package command

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// MaxOutput is the most bytes of output that are kept, the mark included.
const MaxOutput = 64 << 10

const (
	keepTail = MaxOutput / 2
	keepHead = MaxOutput/2 - markRoom
	markRoom = 64 // the longest mark has 47 bytes
)

// outputDelay is how long output may still come after the program's end. What
// a background child holds open must not hold us up.
const outputDelay = 500 * time.Millisecond

// capture keeps the beginning and the end of what is written to it, however
// much that is. It never fails, so that the writer is never held up.
type capture struct {
	head  []byte
	tail  []byte // at least the last keepTail bytes after head
	total int64
}

func (c *capture) Write(p []byte) (int, error) {
	n := len(p)
	c.total += int64(n)
	fits := min(n, keepHead-len(c.head))
	c.head = append(c.head, p[:fits]...)
	p = p[fits:]
	c.tail = append(c.tail, p[max(0, len(p)-keepTail):]...)
	if len(c.tail) > 2*keepTail {
		c.tail = c.tail[:copy(c.tail, c.tail[len(c.tail)-keepTail:])]
	}
	return n, nil
}

// dropped is how many bytes are missing between the beginning and the end.
func (c *capture) dropped() int64 {
	return max(0, c.total-keepHead-keepTail)
}

func (c *capture) String() string {
	if c.dropped() == 0 {
		return string(c.head) + string(c.tail)
	}
	end := c.tail[len(c.tail)-keepTail:]
	return fmt.Sprintf("%s\n[... %d bytes dropped ...]\n%s", c.head, c.dropped(), end)
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
