package observe

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// breakFor is how long a conn drops everything after a failure, so that a dead peer costs one time-out, and not one for each
// message.
const breakFor = 5 * time.Second

// errDropped is the error of Write while the circuit breaker is open.
var errDropped = errors.New("dropped: the last attempt failed less than 5s ago")

// conn is a connection for messages that may be lost and must not block, with a circuit breaker. It connects at the first Write,
// and again after a broken connection.
type conn struct {
	dial  func(context.Context) (net.Conn, error)
	limit time.Duration // of one dial, and of one write

	mu     sync.Mutex
	peer   net.Conn
	resume time.Time // the circuit breaker is open until then
}

// Write sends p, or drops it with an error.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.resume) {
		return 0, errDropped
	}
	fresh := c.peer == nil
	err := c.send(p)
	// A peer that worked before may have restarted: try once more. A write that timed out would time out again.
	if err != nil && !fresh && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.send(p)
	}
	if err != nil {
		c.resume = time.Now().Add(breakFor)
		return 0, err
	}
	return len(p), nil
}

func (c *conn) send(p []byte) error {
	if c.peer == nil {
		ctx, cancel := context.WithTimeout(context.Background(), c.limit)
		defer cancel()
		peer, err := c.dial(ctx)
		if err != nil {
			return err
		}
		c.peer = peer
	}
	err := c.peer.SetWriteDeadline(time.Now().Add(c.limit))
	if err == nil {
		_, err = c.peer.Write(p)
	}
	if err != nil {
		return errors.Join(err, c.disconnect())
	}
	return nil
}

func (c *conn) disconnect() error {
	if c.peer == nil {
		return nil
	}
	err := c.peer.Close()
	c.peer = nil
	return err
}

// Close closes the connection, if there is one.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.disconnect()
}
