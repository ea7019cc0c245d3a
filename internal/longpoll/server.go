// Package longpoll is an HTTP server for clients that wait: it answers a request when there is
// something to tell, or when its time is over, and makes thousands of waiting requests cheap.
//
// A request that waits gives its connection away. What net/http holds for it (two buffers, two goroutines,
// the request) is freed; what is left is one small goroutine that reads from the connection. That read ends
// for each of the reasons to end the wait: the client has gone, the time is over (the read's deadline), or
// there is news (the deadline is moved into the past). After the answer, a next request that only asks is answered
// by the same means; with any other, the connection goes back to net/http as if it were new.
//
// It owns connections and their limits, knows nothing of what is asked, and imports nothing of this module.
package longpoll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of what clients may take.
const (
	maxHeader = 32 << 10        // bytes; net/http allows 4 KiB more
	maxEarly  = 64 << 10        // bytes that a client may send while it waits
	graceful  = 5 * time.Second // for requests under way, when the server ends
)

// Times are how long clients may take.
type Times struct {
	Header time.Duration // for the head of a request
	Body   time.Duration // for all of a request
	Answer time.Duration // from a request to the end of its answer
	Idle   time.Duration // between requests
	Send   time.Duration // to take an answer that was waited for
}

// usual are those of Consul, where it has them.
func usual() Times {
	return Times{Header: 10 * time.Second, Body: time.Minute, Answer: 15 * time.Minute, Idle: 2 * time.Minute, Send: 30 * time.Second}
}

// Option changes how a server is made.
type Option func(*Server)

// WithTimes sets limits of time other than the usual ones.
func WithTimes(t Times) Option { return func(s *Server) { s.times = t } }

// Server serves HTTP/1.1. Its zero value cannot be used: see New.
type Server struct {
	http     http.Server
	maxConns int
	refusal  string // what a client beyond maxConns is told
	times    Times
	refusing chan struct{} // has an element for each that is being told

	mu      sync.Mutex
	open    int               // connections
	parked  map[net.Conn]bool // whose requests wait, or that are idle after one has; true: an answer is on its way
	closing bool
	waiting sync.WaitGroup // for the goroutines that have them
	back    chan net.Conn  // to net/http again
	done    chan struct{}  // closed when the server ends
}

// New makes a server for at most maxConns connections at a time; one more is told so with status 429, and
// refusal. The handler calls Wait where it wants to.
//
// Zero connections are as many as there may be.
func New(maxConns int, refusal string, options ...Option) *Server {
	s := &Server{
		maxConns: maxConns, refusal: refusal, times: usual(), refusing: make(chan struct{}, maxRefusing),
		parked: make(map[net.Conn]bool), back: make(chan net.Conn), done: make(chan struct{}),
	}
	for _, option := range options {
		option(s)
	}
	return s
}

// Serve answers what comes over ln, until ctx ends. Then requests under way have a moment to end, those that
// wait are cut off, and all connections are closed. It closes ln, and leaves no goroutine.
func (s *Server) Serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	s.http.Handler = handler
	s.http.ReadHeaderTimeout, s.http.ReadTimeout, s.http.IdleTimeout = s.times.Header, s.times.Body, s.times.Idle
	s.http.WriteTimeout, s.http.MaxHeaderBytes = s.times.Answer, maxHeader
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true) // a connection of HTTP/2 is never one request's alone

	s.http.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // anybody could fill the log
	var served sync.WaitGroup
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			served.Add(1)
		case http.StateClosed, http.StateHijacked:
			served.Done()
		}
	}

	in := &listener{Listener: ln, server: s, fresh: make(chan accepted)}
	var accepting sync.WaitGroup
	accepting.Go(in.pump)
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(in) }()
	var err error
	select {
	case err = <-failed:
		s.end() //nolint:contextcheck // it is over, or the end has its own time
	case <-ctx.Done():
		s.end() //nolint:contextcheck // it is over, or the end has its own time
		if err = <-failed; errors.Is(err, net.ErrClosed) {
			err = nil // we closed it
		}
	}
	_ = in.Close() // its error tells that it is closed
	accepting.Wait()
	s.waiting.Wait()
	served.Wait()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP at %s: %w", ln.Addr(), err)
	}
	return nil
}

// end closes what waits and lets the rest finish.
func (s *Server) end() {
	s.mu.Lock()
	s.closing = true
	close(s.done)
	s.mu.Unlock()
	s.cut(func(answering bool) bool { return !answering })
	ctx, cancel := context.WithTimeout(context.Background(), graceful)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // what is left did not end in time
	}
	answered := make(chan struct{})
	go func() { s.waiting.Wait(); close(answered) }()
	select {
	case <-answered:
	case <-ctx.Done():
		s.cut(func(bool) bool { return true })
		<-answered
	}
}

// cut closes those of the connections that are ours.
func (s *Server) cut(which func(answering bool) bool) {
	var conns []net.Conn
	s.mu.Lock()
	for conn, answering := range s.parked {
		if which(answering) {
			conns = append(conns, conn)
		}
	}
	s.mu.Unlock() // Close counts
	for _, conn := range conns {
		_ = conn.Close() // its goroutine sees that
	}
}

var errEnds = errors.New("the server ends")

// answering notes that an answer to a connection that is ours begins or is over. Its error: the server ends, and there
// is nothing more to do.
func (s *Server) answering(conn net.Conn, begins bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errEnds
	}
	s.parked[conn] = begins
	return nil
}

// enter counts a new connection; false if it is one too many.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.maxConns > 0 && s.open >= s.maxConns {
		return false
	}
	s.open++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// park notes that a connection is ours until forget; false if the server is ending. The goroutine that has it calls
// waiting.Done at its end.
func (s *Server) park(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.parked[conn] = false
	s.waiting.Add(1)
	return true
}

func (s *Server) forget(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parked, conn)
}
