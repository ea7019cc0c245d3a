package longpoll

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

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

func TestTimeOver(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	b.wait = time.Millisecond
	c := dial(t, addr)
	for range 3 {
		c.ask(t, 5)
		c.wants(t, "0")
	}
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
