package longpoll

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

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
