//go:build linux

package agent

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// beats counts events by their time.
type beats struct {
	mu  sync.Mutex
	all []time.Time
}

func (b *beats) add() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, time.Now())
}

// since is how many there were from a moment on.
func (b *beats) since(from time.Time) int { return len(b.after(from)) }

// after lists how long after a moment they were.
func (b *beats) after(from time.Time) []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []time.Duration
	for _, at := range b.all {
		if !at.Before(from) {
			all = append(all, at.Sub(from))
		}
	}
	return all
}

// wire is a TCP proxy: the network between an agent and its Consul, with its faults.
type wire struct {
	t        testing.TB
	upstream string
	addr     string
	requests beats // that an agent has sent

	// refuse hangs up on new connections at once.
	refuse atomic.Bool

	mu    sync.Mutex
	black bool // see hole
	lines map[*line]bool
	all   sync.WaitGroup
}

// line is one connection through a wire.
type line struct {
	down, up net.Conn // to the agent, to Consul
	dead     atomic.Bool
}

func (l *line) close() {
	l.down.Close()
	l.up.Close()
}

// newWire makes a network to the Consul at upstream that works.
func newWire(t testing.TB, upstream string) *wire {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, upstream: upstream, addr: l.Addr().String(), lines: map[*line]bool{}}
	w.all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.all.Go(func() { w.carry(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.hangUp()
		w.all.Wait()
	})
	return w
}

// hangUp closes every connection.
func (w *wire) hangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.lines {
		l.close()
	}
}

// hole drops all bytes in both directions, without an error, until it is turned off.
// Connections that were in the hole stay dead even then, without an error.
func (w *wire) hole(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.black = on
	for l := range w.lines {
		if on {
			l.dead.Store(true)
		}
	}
}

func (w *wire) carry(down net.Conn) {
	defer down.Close()
	if w.refuse.Load() {
		return
	}
	up, err := net.Dial("tcp", w.upstream)
	if err != nil {
		return
	}
	l := &line{down: down, up: up}
	defer l.close()
	w.mu.Lock()
	l.dead.Store(w.black)
	w.lines[l] = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.lines, l)
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.pump(up, down, l, w.question)
		up.Close()
	}()
	w.pump(down, up, l, w.answer)
	down.Close()
	<-done
}

// pump carries bytes one way until either side hangs up.
func (w *wire) pump(to, from net.Conn, l *line, send func(net.Conn, []byte, *line) error) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err == nil {
			err = send(to, buf[:n], l)
		} else if l.dead.Load() {
			_, _ = io.Copy(io.Discard, to) // which does not learn that the other side hung up
		}
		if err != nil {
			return
		}
	}
}

// question hands bytes to Consul.
func (w *wire) question(to net.Conn, b []byte, l *line) error {
	if bytes.HasPrefix(b, []byte("GET ")) || bytes.HasPrefix(b, []byte("PUT ")) {
		w.requests.add()
	}
	if l.dead.Load() {
		return nil
	}
	_, err := to.Write(b)
	return err
}

// answer hands bytes to the agent.
func (w *wire) answer(to net.Conn, b []byte, l *line) error {
	if l.dead.Load() {
		return nil
	}
	_, err := to.Write(b)
	return err
}

// front is an HTTP proxy in front of Consul that may change or invent answers.
type front struct {
	addr     string
	requests beats
	meddle   atomic.Pointer[meddler]
}

// meddler answers a request, perhaps with the answer of next, the real Consul.
type meddler func(w http.ResponseWriter, r *http.Request, next http.Handler)

// newFront makes one that changes nothing yet.
func newFront(t testing.TB, upstream string) *front {
	t.Helper()
	f := &front{}
	next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream})
	transport := &http.Transport{DisableKeepAlives: true} // no request fails because of an old connection
	next.Transport, next.ErrorLog = transport, slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute, ErrorLog: next.ErrorLog,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.requests.add()
			if m := f.meddle.Load(); m != nil {
				(*m)(w, r, next)
				return
			}
			next.ServeHTTP(w, r)
		}),
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return f
}

// with sets the meddler; nil removes it.
func (f *front) with(m meddler) {
	if m == nil {
		f.meddle.Store(nil)
		return
	}
	f.meddle.Store(&m)
}
