package longpoll

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
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
	if a := q.Answer(false); a != nil {
		a(w)
		return
	}
	if s == nil || !r.ProtoAtLeast(1, 1) || r.Close || r.ContentLength != 0 {
		hold(w, r, q)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		hold(w, r, q) // what w is, cannot give its connection away
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
	go func() {
		defer s.unpark(conn)
		s.serve(conn, early, q)
	}()
}

// serve waits, answers, waits for the client's next request and gives the connection back.
func (s *Server) serve(conn net.Conn, early []byte, q Query) {
	answer, early, err := await(conn, early, q)
	if err == nil {
		err = send(conn, s.times.Send, answer)
	}
	if err == nil && len(early) == 0 {
		early, err = next(conn, s.times.Idle)
	}
	if err != nil {
		_ = conn.Close() // the client has gone, or does not take its answer: nobody to tell
		return
	}
	select {
	case s.back <- &resumed{Conn: conn, early: early}:
	case <-s.done:
		_ = conn.Close() // the server ends
	}
}

var errTooEarly = errors.New("the client sends more requests before it has the answer to this one")

// await reads from the connection until there is an answer, or the client has gone.
func await(conn net.Conn, early []byte, q Query) (Answer, []byte, error) {
	alarm := &alarm{conn: conn}
	defer alarm.off()
	var b [64]byte
	for {
		cancel := q.Subscribe(alarm.ring)
		_ = conn.SetReadDeadline(q.Until) // if it fails, so does the read
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
func hold(w http.ResponseWriter, r *http.Request, q Query) {
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
		case <-r.Context().Done():
			cancel()
			return
		}
	}
}
