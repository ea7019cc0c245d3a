package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// pause is how long after a failure a link drops everything at once, so that
// a dead peer costs one time-out and not one for each message.
const pause = 5 * time.Second

// errDropped is what Write returns while a link pauses.
var errDropped = errors.New("dropped: the last attempt failed a moment ago")

// link is a connection for messages that may be lost and must not be waited
// for. It dials at the first Write, and again when the connection has broken.
type link struct {
	dial  func(context.Context) (net.Conn, error)
	limit time.Duration // of one dial, and of one write

	mu     sync.Mutex
	conn   net.Conn
	resume time.Time // nothing is tried before
}

// Write sends p, or drops it with an error.
func (l *link) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().Before(l.resume) {
		return 0, errDropped
	}
	fresh := l.conn == nil
	err := l.send(p)
	// The peer of a connection that once worked may only have restarted. A
	// write that timed out is not repeated: it would time out again.
	if err != nil && !fresh && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = l.send(p)
	}
	if err != nil {
		l.resume = time.Now().Add(pause)
		return 0, err
	}
	return len(p), nil
}

func (l *link) send(p []byte) error {
	if l.conn == nil {
		ctx, cancel := context.WithTimeout(context.Background(), l.limit)
		defer cancel()
		conn, err := l.dial(ctx)
		if err != nil {
			return err
		}
		l.conn = conn
	}
	err := l.conn.SetWriteDeadline(time.Now().Add(l.limit))
	if err == nil {
		_, err = l.conn.Write(p)
	}
	if err != nil {
		return errors.Join(err, l.disconnect())
	}
	return nil
}

func (l *link) disconnect() error {
	if l.conn == nil {
		return nil
	}
	conn := l.conn
	l.conn = nil
	if err := conn.Close(); err != nil {
		return fmt.Errorf("close the connection to %s: %w", conn.RemoteAddr(), err)
	}
	return nil
}

// Close ends the connection, if there is one.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.disconnect()
}
