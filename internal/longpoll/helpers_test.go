package longpoll

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// board is a value that requests wait for: /?seen=N answers as soon as there is a value after N.
type board struct {
	server *Server
	wait   time.Duration
	pad    int // how many blanks follow the value in an answer

	mu    sync.Mutex
	value int
	bells map[*func()]struct{}
}

func (b *board) set(value int) {
	b.mu.Lock()
	b.value = value
	bells := b.bells
	b.bells = map[*func()]struct{}{}
	b.mu.Unlock()
	for bell := range bells {
		(*bell)()
	}
}

func (b *board) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.bells)
}

// connections is how many there are, and how many of them net/http does not hold.
func (b *board) connections() (open, parked int) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	return b.server.open, len(b.server.parked)
}

func (b *board) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/panic":
		panic("for a test")
	case "/long":
		w.Header().Set("X-Test", "yes")
		_, _ = io.WriteString(w, "long"+strings.Repeat(" ", b.pad))
		return
	case "/how": // whether it is net/http that asks
		stack := make([]byte, 1<<16)
		stack = stack[:runtime.Stack(stack, false)]
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Test", "yes")
		_, _ = fmt.Fprintf(w, "%s %t %s", r.Method, bytes.Contains(stack, []byte("http.(*conn).serve")), body)
		return
	}
	var seen int
	_, _ = fmt.Sscan(r.URL.Query().Get("seen"), &seen)
	b.server.Wait(w, r, Query{
		Until: time.Now().Add(b.wait),
		Subscribe: func(wake func()) func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.bells[&wake] = struct{}{}
			return func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				delete(b.bells, &wake)
			}
		},
		Answer: func(last bool) Answer {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.value <= seen && !last {
				return nil
			}
			value := b.value
			if r.URL.Path == "/panic-later" {
				return func(http.ResponseWriter) { panic("for a test") }
			}
			return func(w http.ResponseWriter) {
				w.Header().Set("X-Test", "yes")
				_, _ = fmt.Fprint(w, value, strings.Repeat(" ", b.pad))
			}
		},
	})
}

// start serves a board on a port of its own until the test ends, or stop is called.
func start(t *testing.T, maxConns int, secure *tls.Config) (b *board, addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	b = &board{server: New(maxConns, "too many\n"), wait: time.Minute, bells: map[*func()]struct{}{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	if secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	go func() { ended <- b.server.Serve(ctx, ln, b) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if open, _ := b.connections(); open != 0 || b.waiting() != 0 {
			t.Errorf("%d connections and %d waits are left", open, b.waiting())
		}
	})
	t.Cleanup(stop)
	return b, addr, stop
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

type client struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) ask(t *testing.T, seen int) {
	t.Helper()
	if _, err := fmt.Fprintf(c, "GET /?seen=%d HTTP/1.1\r\nHost: x\r\n\r\n", seen); err != nil {
		t.Fatal(err)
	}
}

func (c *client) wants(t *testing.T, body string) {
	t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatalf("no answer %s: %v", body, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	got = bytes.TrimRight(got, " ")
	if err != nil || string(got) != body || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Test") != "yes" || resp.Header.Get("Date") == "" {
		t.Errorf("the answer is %d %q (%v, %v), want %q", resp.StatusCode, got, resp.Header, err, body)
	}
}
