package longpoll

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
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

// Requests that wait are answered by a change, over and over on one connection, between others that do not wait.
func TestWait(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	c := dial(t, addr)
	for n := range 20 {
		c.ask(t, n)
		eventually(t, "the wait", func() bool { return b.waiting() == 1 })
		b.set(n + 1)
		c.wants(t, fmt.Sprint(n+1))
		c.ask(t, n)
		c.wants(t, fmt.Sprint(n+1))
	}
	if open, _ := b.connections(); open != 1 {
		t.Errorf("%d connections, want 1", open)
	}
}

// While a request waits, the server holds nothing for it in net/http: its handler has returned.
func TestParkedIsCheap(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	dial(t, addr).ask(t, 0)
	eventually(t, "the connection is ours", func() bool {
		_, parked := b.connections()
		return parked == 1
	})
	eventually(t, "net/http has let go", func() bool {
		stacks := make([]byte, 1<<20)
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("http.(*conn).serve"))
	})
}

// Long answers of unknown length go out in chunks.
func TestLongAnswer(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	b.pad = 3 * maxHeld
	c := dial(t, addr)
	for n := range 3 {
		c.ask(t, n)
		eventually(t, "the wait", func() bool { return b.waiting() == 1 })
		b.set(n + 1)
		c.wants(t, fmt.Sprint(n+1))
	}
}

// After a wait, requests that only ask are answered without net/http, and all others by it.
func TestGoOn(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	c := dial(t, addr)
	say := func(request string) {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
	}
	wait := func() {
		c.ask(t, b.value)
		eventually(t, "the wait", func() bool { return b.waiting() == 1 })
		b.set(b.value + 1)
		c.wants(t, fmt.Sprint(b.value))
	}
	const get = "GET /how HTTP/1.1\r\nHost: x\r\n\r\n"
	say(get)
	c.wants(t, "GET true")
	for request, want := range map[string]string{
		get: "GET false",
		"GET /how HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("b", 2000) + "\r\n\r\n":            "GET true",
		"GET /how HTTP/1.1\r\nHost: x\r\nA: \xff\r\n\r\n":                                         "GET true",
		"PUT /how HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                            "PUT true abc",
		"GET /how HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc":                            "GET true abc",
		"PUT /how HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n": "PUT true abc",
	} {
		wait()
		say(request)
		c.wants(t, want)
	}
	wait()
	say("GET /how HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("two hosts are answered with %v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// A handler that panics costs its connection, and nothing else.
func TestPanic(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	for waits := range 2 {
		c := dial(t, addr)
		for range waits {
			c.ask(t, b.value)
			eventually(t, "the wait", func() bool { return b.waiting() == 1 })
			b.set(b.value + 1)
			c.wants(t, fmt.Sprint(b.value))
		}
		if _, err := io.WriteString(c, "GET /panic HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(c.r, nil); err == nil {
			t.Errorf("a panic was answered with %s", resp.Status)
			_ = resp.Body.Close()
		}
	}
	eventually(t, "no connection", func() bool { open, _ := b.connections(); return open == 0 })
}

// So does a query that panics when it is answered after a wait.
func TestPanicAfterWait(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	c := dial(t, addr)
	if _, err := io.WriteString(c, "GET /panic-later?seen=0 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the wait", func() bool { return b.waiting() == 1 })
	b.set(1)
	if resp, err := http.ReadResponse(c.r, nil); err == nil {
		t.Errorf("a panic was answered with %s", resp.Status)
		_ = resp.Body.Close()
	}
	eventually(t, "no connection", func() bool { open, _ := b.connections(); return open == 0 })
}

func TestTimeOver(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	b.wait = time.Millisecond
	c := dial(t, addr)
	for range 3 {
		c.ask(t, 5)
		c.wants(t, "0")
	}
}

// Who goes away leaves nothing behind.
func TestClientGone(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	c := dial(t, addr)
	c.ask(t, 0)
	eventually(t, "the wait", func() bool { return b.waiting() == 1 })
	_ = c.Close()
	eventually(t, "the end of the wait", func() bool {
		open, parked := b.connections()
		return b.waiting() == 0 && open == 0 && parked == 0
	})
}

// Requests that are sent ahead are answered in their order.
func TestPipelined(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	c := dial(t, addr)
	for n := range 5 {
		c.ask(t, n)
	}
	eventually(t, "the wait", func() bool { return b.waiting() == 1 })
	c.ask(t, 5)
	for n := range 6 {
		eventually(t, "the wait", func() bool { return b.waiting() == 1 })
		b.set(n + 1)
		c.wants(t, fmt.Sprint(n+1))
	}
}

// Who sends without end while it waits is cut off.
func TestTooEarly(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	c := dial(t, addr)
	c.ask(t, 0)
	eventually(t, "the wait", func() bool { return b.waiting() == 1 })
	junk := make([]byte, 4096)
	for range 10_000 {
		if _, err := c.Write(junk); err != nil {
			break
		}
	}
	if n, err := c.Read(junk); err == nil {
		t.Errorf("it was answered with %q", junk[:n])
	}
	eventually(t, "the end of the wait", func() bool { return b.waiting() == 0 })
}

// What cannot give its connection away waits all the same.
func TestHold(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	for name, request := range map[string]string{
		"HTTP/1.0": "GET /?seen=%d HTTP/1.0\r\nHost: x\r\n\r\n",
		"close":    "GET /?seen=%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"a body":   "GET /?seen=%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
	} {
		c := dial(t, addr)
		if _, err := fmt.Fprintf(c, request, b.value); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the wait of "+name, func() bool { return b.waiting() == 1 })
		b.set(b.value + 1)
		c.wants(t, fmt.Sprint(b.value))
		_ = c.Close()
	}
	plain := &board{wait: time.Minute, bells: map[*func()]struct{}{}}
	server := httptest.NewServer(plain)
	defer server.Close()
	c := dial(t, server.Listener.Addr().String())
	c.ask(t, 0)
	eventually(t, "the wait without a server", func() bool { return plain.waiting() == 1 })
	plain.set(1)
	c.wants(t, "1")
}

// One connection too many is told so; when another one has gone, there is room.
func TestTooMany(t *testing.T) {
	b, addr, _ := start(t, 2, nil)
	first, second := dial(t, addr), dial(t, addr)
	first.ask(t, 0)
	second.ask(t, 0)
	eventually(t, "two waits", func() bool { return b.waiting() == 2 })
	third := dial(t, addr)
	resp, err := http.ReadResponse(third.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusTooManyRequests || string(text) != "too many\n" {
		t.Errorf("the third is told %d %q, %v", resp.StatusCode, text, err)
	}
	_ = resp.Body.Close()
	_ = second.Close()
	eventually(t, "one wait", func() bool { return b.waiting() == 1 })
	eventually(t, "room", func() bool {
		c := dial(t, addr)
		_, err := fmt.Fprint(c, "GET /?seen=-1 HTTP/1.1\r\nHost: x\r\n\r\n")
		if err != nil {
			return false
		}
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// The end of the server ends those that wait, and those that are idle after a wait.
func TestEnd(t *testing.T) {
	b, addr, stop := start(t, 0, nil)
	waits, idle := dial(t, addr), dial(t, addr)
	idle.ask(t, 0)
	eventually(t, "one wait", func() bool { return b.waiting() == 1 })
	b.set(1)
	idle.wants(t, "1")
	waits.ask(t, 1)
	eventually(t, "another wait", func() bool { return b.waiting() == 1 })
	stop()
	for _, c := range []*client{waits, idle} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
			t.Errorf("after the end a client sees %v", err)
		}
	}
}

// An answer that is on its way when the server ends arrives, after a wait or between waits; its connection is closed.
func TestEndWhileAnswering(t *testing.T) {
	for request, want := range map[string]string{
		"GET /?seen=0 HTTP/1.1\r\nHost: x\r\n\r\n": "1",
		"GET /long HTTP/1.1\r\nHost: x\r\n\r\n":    "long",
	} {
		b, addr, stop := start(t, 0, nil)
		b.pad = 24 << 20 // more than sockets hold
		first := dial(t, addr)
		first.ask(t, 0)
		eventually(t, "the wait", func() bool { return b.waiting() == 1 })
		b.set(1)
		first.wants(t, "1")
		if _, err := io.WriteString(first, request); err != nil {
			t.Fatal(err)
		}
		if _, err := first.r.Peek(1); err != nil {
			t.Fatal(err)
		}
		var ended sync.WaitGroup
		ended.Go(stop)
		eventually(t, "the end", func() bool {
			b.server.mu.Lock()
			defer b.server.mu.Unlock()
			return b.server.closing
		})
		first.wants(t, want)
		if _, err := first.r.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after its answer a client sees %v", err)
		}
		ended.Wait()
	}
}

// Over TLS it is the same.
func TestTLS(t *testing.T) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	b, addr, _ := start(t, 0, cert.TLS)
	trust := cert.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.NextProtos = nil
	conn, err := tls.Dial("tcp", addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := &client{conn, bufio.NewReader(conn)}
	for n := range 5 {
		c.ask(t, n)
		eventually(t, "the wait", func() bool { return b.waiting() == 1 })
		b.set(n + 1)
		c.wants(t, fmt.Sprint(n+1))
	}
}

// Many wait at once, and no change is missed by any of them, however close they come.
func TestMany(t *testing.T) {
	const clients, changes = 100, 30
	b, addr, _ := start(t, 0, nil)
	var group sync.WaitGroup
	for range clients {
		c := dial(t, addr)
		group.Go(func() {
			for seen := 0; seen < changes; {
				if _, err := fmt.Fprintf(c, "GET /?seen=%d HTTP/1.1\r\nHost: x\r\n\r\n", seen); err != nil {
					t.Error(err)
					return
				}
				resp, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				before := seen
				_, err = fmt.Fscan(resp.Body, &seen)
				if _, rest := io.Copy(io.Discard, resp.Body); err != nil || rest != nil || seen <= before {
					t.Errorf("after %d comes %d, %v", before, seen, err)
					return
				}
				_ = resp.Body.Close()
			}
		})
	}
	for n := range changes {
		b.set(n + 1)
		<-time.After(time.Millisecond)
	}
	group.Wait()
}
