package longpoll

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// Answer writes a whole HTTP answer, as a handler does. What it writes it does not change any more.
type Answer func(http.ResponseWriter)

// Query is what a request waits for.
type Query struct {
	// Until is when the wait is over.
	Until time.Time
	// Subscribe calls wake at most once, soon after something has changed. wake returns at once.
	// After cancel it is not called any more, unless it is being called.
	Subscribe func(wake func()) (cancel func())
	// Answer returns nil as long as the request is to wait. With last, the time is over, and
	// there must be an answer. It is called after Subscribe, so that no change is missed.
	Answer func(last bool) Answer
}

// Wait answers a request as soon as its query has an answer. The handler has to return after it without touching
// w or r. A nil Server waits too, at the price of net/http.
func (s *Server) Wait(w http.ResponseWriter, r *http.Request, q Query) {
	if own, ok := w.(*writer); ok { // the connection is ours already
		own.query = &q
		return
	}
	if a := q.Answer(false); a != nil {
		a(w)
		return
	}
	if s == nil || !r.ProtoAtLeast(1, 1) || r.Close || r.ContentLength != 0 {
		s.hold(w, r, q)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.hold(w, r, q) // what w is, cannot give its connection away
		return
	}
	unread, _ := rw.Peek(rw.Reader.Buffered()) // as many as there are: no error
	early := bytes.Clone(unread)
	if old, ok := conn.(*resumed); ok { // it is not wrapped twice
		conn, early = old.Conn, append(early, old.early...)
	}
	if !s.park(conn) {
		_ = conn.Close() // the server ends
		return
	}
	go s.serve(conn, early, q)
}

// serve waits, answers, and goes on with what the client asks next. It ends the goroutine that it runs in: who waits
// again does so in a new one, with a small stack.
func (s *Server) serve(conn net.Conn, early []byte, q Query) {
	early, err := s.tell(conn, early, q)
	s.goOn(conn, early, err)
}

// tell sends the answer once there is one, and returns what the client has sent meanwhile.
func (s *Server) tell(conn net.Conn, early []byte, q Query) (_ []byte, err error) {
	defer caught(&err)
	answer, early, err := await(conn, early, q)
	if err == nil {
		err = s.answering(conn, true)
	}
	if err == nil {
		err = send(conn, s.times.Send, answer)
	}
	if err == nil {
		err = s.answering(conn, false)
	}
	return early, err
}

// goOn takes the client's next request: one that only asks is answered here, and with any other the connection goes
// back to net/http.
func (s *Server) goOn(conn net.Conn, early []byte, err error) {
	for err == nil {
		if len(early) == 0 {
			early, err = next(conn, s.times.Idle)
			continue
		}
		r := plain(conn, early)
		if r == nil {
			s.giveBack(conn, early)
			return
		}
		early = nil
		var q *Query
		if q, err = s.answer(conn, r); err == nil && q != nil {
			go s.serve(conn, nil, *q)
			return
		}
	}
	defer s.waiting.Done()
	s.forget(conn)
	_ = conn.Close() // the client has gone, or does not take its answer: nobody to tell
}

// giveBack gives a connection to net/http.
func (s *Server) giveBack(conn net.Conn, early []byte) {
	defer s.waiting.Done()
	s.forget(conn) // before net/http may park it again
	select {
	case s.back <- &resumed{Conn: conn, early: early}:
	case <-s.done:
		_ = conn.Close() // the server ends
	}
}

// plain reads a request that is there as a whole, has no body, and does not end the connection; nil if it is any other.
func plain(conn net.Conn, raw []byte) *http.Request {
	if !bytes.HasPrefix(raw, []byte("GET /")) || bytes.Index(raw, []byte("\r\n\r\n")) != len(raw)-4 || !sound(raw) {
		return nil
	}
	r, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(raw), len(raw)))
	if err != nil || r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.Close || r.ContentLength != 0 || len(r.TransferEncoding) > 0 || r.Header.Get("Expect") != "" {
		return nil // what is wrong, net/http tells the client
	}
	r.RemoteAddr = conn.RemoteAddr().String()
	return r
}

// sound reports whether net/http would take the head of a request too. What is unusual counts as not sound: a line that
// does not end with CR and LF, bytes that are not printed, other names of headers than letters and dashes make, other than
// one host, and one with unusual signs.
func sound(head []byte) bool {
	hosts := 0
	for i, line := range bytes.Split(head[:len(head)-4], []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case slices.ContainsFunc(line, func(c byte) bool { return c < ' ' || c > '~' }):
			return false
		case i == 0: // "GET", which was seen
		case len(name) == 0 || slices.ContainsFunc(name, func(c byte) bool { return !alphanumeric(c) && c != '-' }):
			return false
		case bytes.EqualFold(name, []byte("Host")):
			hosts++
			value = bytes.TrimSpace(value)
			if len(value) == 0 || slices.ContainsFunc(value, func(c byte) bool { return !alphanumeric(c) && bytes.IndexByte([]byte("-._:[]"), c) < 0 }) {
				return false
			}
		}
	}
	return hosts == 1
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// answer lets the handler answer, or returns the query that the request waits for.
func (s *Server) answer(conn net.Conn, r *http.Request) (q *Query, err error) {
	defer caught(&err)
	if err := s.answering(conn, true); err != nil {
		return nil, err
	}
	w := &writer{conn: conn, limit: s.times.Send, header: make(http.Header)}
	s.http.Handler.ServeHTTP(w, r)
	if w.query == nil {
		w.finish()
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.query, s.answering(conn, false)
}

// caught makes a panic an error: as in net/http, it costs the connection.
func caught(err *error) {
	if recover() != nil {
		*err = errPanicked
	}
}

var errPanicked = errors.New("the handler has panicked")

var errTooEarly = errors.New("the client sends more requests before it has the answer to this one")

// await reads from the connection until there is an answer, or the client has gone.
func await(conn net.Conn, early []byte, q Query) (Answer, []byte, error) {
	alarm := &alarm{conn: conn}
	defer alarm.off()
	var b [64]byte
	for {
		_ = conn.SetReadDeadline(q.Until) // before Subscribe, whose ring it would undo; if it fails, so does the read
		cancel := q.Subscribe(alarm.ring)
		if a := q.Answer(false); a != nil {
			cancel()
			return a, early, nil
		}
		n, err := conn.Read(b[:])
		cancel()
		early = append(early, b[:n]...)
		switch {
		case err == nil && len(early) > maxEarly:
			return nil, nil, errTooEarly
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, nil, err
		case !time.Now().Before(q.Until):
			return q.Answer(true), early, nil
		}
	}
}

// alarm ends a read by moving its deadline into the past, as long as it is on.
type alarm struct {
	conn net.Conn
	mu   sync.Mutex
	over bool
}

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		_ = a.conn.SetReadDeadline(time.Unix(1, 0)) // if it fails, so does the read
	}
}

func (a *alarm) off() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
}

// next waits for the next request, as long as a connection may be idle.
func next(conn net.Conn, idle time.Duration) ([]byte, error) {
	first := make([]byte, 512)                     // a whole request, mostly
	_ = conn.SetReadDeadline(time.Now().Add(idle)) // if it fails, so does the read
	n, err := conn.Read(first)
	_ = conn.SetReadDeadline(time.Time{}) // net/http sets its own
	return first[:n], err
}

// hold waits where a connection cannot be given away.
func (s *Server) hold(w http.ResponseWriter, r *http.Request, q Query) {
	var done chan struct{} // a nil one is never closed
	if s != nil {
		done = s.done
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // that of the request would end the wait
	timer := time.NewTimer(time.Until(q.Until))
	defer timer.Stop()
	for {
		changed := make(chan struct{})
		cancel := q.Subscribe(sync.OnceFunc(func() { close(changed) }))
		if a := q.Answer(false); a != nil {
			cancel()
			a(w)
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			cancel()
			q.Answer(true)(w)
			return
		case <-done:
			cancel()
			q.Answer(true)(w)
			return
		case <-r.Context().Done():
			cancel()
			return
		}
	}
}
