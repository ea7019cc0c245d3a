package longpoll

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// listener gives net/http new connections, and those whose clients go on after a wait.
type listener struct {
	net.Listener
	server *Server
	fresh  chan accepted
}

type accepted struct {
	conn net.Conn
	err  error
}

// Limits of telling clients that there are too many.
const (
	maxRefusing = 64          // at a time; one more is just closed
	refusalTime = time.Second // for one of them, with its TLS
	maxUnread   = 64 << 10    // bytes of what it has to say meanwhile
)

// pump accepts connections until the listener is closed.
func (l *listener) pump() {
	var refusals sync.WaitGroup
	defer refusals.Wait()
	for {
		conn, err := l.Listener.Accept()
		if err == nil && !l.server.enter() {
			select {
			case l.server.refusing <- struct{}{}:
				refusals.Go(func() {
					defer func() { <-l.server.refusing }()
					l.refuse(conn)
				})
			default:
				_ = conn.Close() // there are too many even of those
			}
			continue
		}
		if err == nil {
			conn = &counted{Conn: conn, left: sync.OnceFunc(l.server.leave)}
		}
		select {
		case l.fresh <- accepted{conn, err}:
		case <-l.server.done:
			if err == nil {
				_ = conn.Close() // nobody serves it any more
			}
			return
		}
	}
}

// refuse tells a client that there are too many. It has a moment to ask first, since some take an answer that comes
// before for a mistake. What it says is read to its end, and not looked at: were it left unread, the end of the
// connection could overtake the answer.
func (l *listener) refuse(conn net.Conn) {
	text := l.server.refusal
	_ = conn.SetDeadline(time.Now().Add(refusalTime / 2)) // if it fails, so does the rest
	_, _ = conn.Read(make([]byte, 4096))                  // without a request, it is told all the same
	_ = conn.SetDeadline(time.Now().Add(refusalTime / 2))
	_, err := fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		http.StatusTooManyRequests, http.StatusText(http.StatusTooManyRequests), len(text), text)
	if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxUnread)) // until the client has seen it
	}
	_ = conn.Close() // what it says is for the client alone
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case got := <-l.fresh:
		return got.conn, got.err
	case conn := <-l.server.back:
		return conn, nil
	case <-l.server.done:
		return nil, net.ErrClosed
	}
}

// counted is a connection that the server counts until it is closed.
type counted struct {
	net.Conn
	left func()
}

func (c *counted) Close() error {
	defer c.left()
	return c.Conn.Close()
}

// resumed is a connection of which some bytes were read already.
type resumed struct {
	net.Conn
	early []byte
}

func (r *resumed) Read(p []byte) (int, error) {
	if len(r.early) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.early)
	if r.early = r.early[n:]; len(r.early) == 0 {
		r.early = nil
	}
	return n, nil
}
