package difftest

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxAnswer is the most bytes read of a body.
const maxAnswer = 64 << 20

// answer is what a client sees of one request. With err there was none.
type answer struct {
	sent   string // target, a space and body
	status int
	header http.Header
	body   []byte
	err    error
}

// read is the body, unpacked.
func read(resp *http.Response) ([]byte, error) {
	var from io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			return nil, err
		}
		from = z
	}
	return io.ReadAll(io.LimitReader(from, maxAnswer))
}

func (a answer) query() string {
	target, _, _ := strings.Cut(a.sent, " ")
	_, query, _ := strings.Cut(target, "?")
	return query
}

// endpoint is a server's address and the connections to it that are idle.
// HTTP is written by hand: a client library would repair what is malformed
// on purpose.
type endpoint struct {
	addr string
	mu   sync.Mutex
	idle []*conn
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

// send is one request and its answer. A connection that was kept may have
// been closed meanwhile: then a new one is taken, once.
func (e *endpoint) send(ctx context.Context, s Step, patience time.Duration) answer {
	e.mu.Lock()
	var c *conn
	if n := len(e.idle); n > 0 {
		c, e.idle = e.idle[n-1], e.idle[:n-1]
	}
	e.mu.Unlock()
	if c != nil {
		a, early := e.exchange(ctx, c, s, patience)
		if !early || !closed(a.err) {
			return a
		}
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", e.addr)
	if err != nil {
		return answer{err: err}
	}
	a, _ := e.exchange(ctx, &conn{Conn: raw, r: bufio.NewReader(raw)}, s, patience)
	return a
}

// exchange also tells whether it failed before a byte of an answer came.
func (e *endpoint) exchange(ctx context.Context, c *conn, s Step, patience time.Duration) (a answer, early bool) {
	keep := false
	stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // ends a read that waits
	defer func() {
		if !stop() || !keep {
			_ = c.Close() // nothing to lose
			return
		}
		e.mu.Lock()
		e.idle = append(e.idle, c)
		e.mu.Unlock()
	}()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{err: err}, true
	}
	// A server may answer before it has read a large body, and never read it.
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(request(s))
		wrote <- err
	}()
	if _, err := c.r.Peek(1); err != nil {
		_ = c.Close()
		return answer{err: errors.Join(err, <-wrote)}, true
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: s.Method})
	if err != nil {
		_ = c.Close()
		err = errors.Join(err, <-wrote)
		return answer{err: err}, false
	}
	body, err := read(resp)
	err = errors.Join(err, resp.Body.Close())
	if resp.Close || err != nil {
		_ = c.Close()
	}
	werr := <-wrote
	keep = !resp.Close && err == nil && werr == nil
	return answer{sent: s.Target + " " + s.Body, status: resp.StatusCode, header: resp.Header, body: body, err: err}, false
}

// request is the step on the wire.
func request(s Step) []byte {
	body := s.Body
	if s.Fill > 0 {
		body = strings.Repeat("x", s.Fill)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n", s.Method, s.Target)
	if s.Header != "" {
		b.WriteString(s.Header + "\r\n")
	}
	switch {
	case s.Chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		for len(body) > 0 {
			n := min(len(body), 100_000)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		b.WriteString("0\r\n\r\n")
	case body != "" || s.Method == http.MethodPut || s.Method == http.MethodPost:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	default:
		b.WriteString("\r\n")
	}
	return []byte(b.String())
}

// close closes the connections that are idle.
func (e *endpoint) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.idle {
		_ = c.Close() // nothing to lose
	}
	e.idle = nil
}
