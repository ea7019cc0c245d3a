package longpoll

import (
	"fmt"
	"io"
	"net/http"
	"testing"
)

// waited is a client whose connection is not net/http's any more.
func waited(t *testing.T, b *board, addr string) *client {
	t.Helper()
	c := dial(t, addr)
	c.ask(t, b.value)
	eventually(t, "the wait", func() bool { return b.waiting() == 1 })
	b.set(b.value + 1)
	c.wants(t, fmt.Sprint(b.value))
	return c
}

// What net/http would not take for one whole request is left to it.
func TestNotWhole(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	c := waited(t, b, addr)
	if _, err := io.WriteString(c, "GET /how HTTP/1.1\nHost: x\n\nGET /how HTTP/1.1\r\nA: b\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c.wants(t, "GET true")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("a request without a host is answered with %v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// A version that is not spoken, and a host that is none, are refused as by net/http.
func TestOddRequests(t *testing.T) {
	b, addr, _ := start(t, 0, nil)
	for request, want := range map[string]int{
		"GET /how HTTP/2.0\r\nHost: x\r\n\r\n":           http.StatusHTTPVersionNotSupported,
		"GET /how HTTP/1.1\r\nHost: x y\r\n\r\n":         http.StatusBadRequest,
		"GET /how HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n": http.StatusBadRequest,
		"GET http://y/how HTTP/1.1\r\nHost: x y\r\n\r\n": http.StatusBadRequest,
		"GET http://y/how HTTP/1.1\r\nA: x\r\n\r\n":      http.StatusBadRequest,
	} {
		c := waited(t, b, addr)
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(c.r, nil)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%q is answered with %v, %v", request, resp, err)
		}
		_ = resp.Body.Close()
	}
}

// The type of a body is told as net/http tells it, for short answers and those in chunks.
func TestType(t *testing.T) {
	for _, pad := range []int{0, 3 * maxHeld} {
		b, addr, _ := start(t, 0, nil)
		b.pad = pad
		var types []string
		for _, c := range []*client{dial(t, addr), waited(t, b, addr)} {
			c.ask(t, 0)
			if b.value == 0 {
				b.set(1)
			}
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			types = append(types, resp.Header.Get("Content-Type"))
		}
		if types[0] == "" || types[0] != types[1] {
			t.Errorf("with %d blanks, net/http tells the types %q", pad, types)
		}
	}
}
