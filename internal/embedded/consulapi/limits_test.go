package consulapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/httpd"
)

// Malicious clients. A good client is still answered, and the memory of a bad one is bounded.

// connect sends any bytes.
func connect(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(conn, text) }() // the end of it may not be wanted
	return conn
}

// A body that never ends. No part of it is written.
func TestEndlessBody(t *testing.T) {
	for name, head := range map[string]string{
		"told":   "PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf",
		"chunks": "PUT /v1/kv/bad HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"txn":    "PUT /v1/txn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[{\"KV\":",
	} {
		t.Run(name, func(t *testing.T) {
			addr, engine := serve(t, consulapi.Options{}, httpd.Options{Request: 300 * time.Millisecond, Answer: time.Minute})
			slow := connect(t, addr, head)
			if code, body, _ := asks(t, "PUT", addr, "/v1/kv/good", "1"); code != http.StatusOK {
				t.Errorf("a good client gets %d %s", code, body)
			}
			if _, err := io.Copy(io.Discard, slow); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it is not cut off")
			}
			if engine.View().Get("bad") != nil {
				t.Error("half of a body was written")
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	addr, _ := serve(t, consulapi.Options{}, httpd.Options{})
	const chunked = "Transfer-Encoding: chunked\r\n\r\n"
	chunks := strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 9) // 576 KiB, and no end
	for name, c := range map[string]struct {
		request string
		code    int
	}{
		"headers":                 {"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nX-Long: " + strings.Repeat("x", 64<<10), 431},
		"a long path":             {"GET /v1/kv/" + strings.Repeat("x", 64<<10), 431},
		"a value":                 {"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 524289\r\n\r\nx", 413},
		"a value in chunks":       {"PUT /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n" + chunked + chunks, 413},
		"a transaction":           {"PUT /v1/txn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 524289\r\n\r\n[", 413},
		"a transaction in chunks": {"PUT /v1/txn HTTP/1.1\r\nHost: localhost\r\n" + chunked + "2\r\n[\"\r\n" + chunks, 413},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.ReadResponse(bufio.NewReader(connect(t, addr, c.request)), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != c.code {
				t.Errorf("%d, want %d", resp.StatusCode, c.code)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Clients that request everything and read nothing: they do not cost their answers, nor a view of the store each, and small answers are
// still sent.
func TestClientsThatDoNotRead(t *testing.T) {
	const values, clients = 110, 8 // 55 MB: the first of them takes nearly all that may be sent at a time
	for name, request := range map[string]string{
		"a list":             "GET /v1/kv/k/?recurse HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a list that waited": "GET /v1/kv/k/?recurse&index=1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"a transaction": "PUT /v1/txn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 80\r\n\r\n" +
			`[{"KV":{"Verb":"get-tree","Key":"k/"}},{"KV":{"Verb":"get-tree","Key":"k/"}}]   `,
	} {
		t.Run(name, func(t *testing.T) {
			addr, engine := serve(t, consulapi.Options{}, httpd.Options{})
			fill := func(size int) {
				for n := range values {
					set(t, engine, fmt.Sprint("k/", n), make([]byte, size))
				}
			}
			fill(500_000)
			before := heap()
			for n := range clients { // each has asked before all changes once more
				conn := connect(t, addr, request)
				if n == 0 {
					if _, err := conn.Read(make([]byte, 1)); err != nil { // the answer is under way
						t.Fatal(err)
					}
				}
				for _, small := range []string{"/v1/status/leader", "/v1/kv/k/?keys", "/v1/kv/k/1"} {
					if code, body, _ := asks(t, "GET", addr, small, ""); code != http.StatusOK {
						t.Fatalf("a good client gets %d %.100s of %s", code, body, small)
					}
				}
				fill(500_001 + n)
			}
			const most = values*500_000 + clients*1<<20
			if after := heap(); after > before+most {
				t.Errorf("they hold %d MB, want at most %d", (after-before)>>20, most>>20)
			}
		})
	}
}

// A client that does not read is disconnected, and the next large answer is sent.
func TestSlowReaderLosesItsTurn(t *testing.T) {
	t.Parallel()
	addr, engine := serve(t, consulapi.Options{}, httpd.Options{})
	for n := range 110 {
		set(t, engine, fmt.Sprint("k/", n), make([]byte, 500_000))
	}
	slow := connect(t, addr, "GET /v1/kv/k/?recurse HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if _, err := slow.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	code, body, _ := asks(t, "GET", addr, "/v1/kv/k/?recurse", "")
	if code != http.StatusOK || len(body) < 110*500_000 {
		t.Errorf("the next one gets %d, %d bytes", code, len(body))
	}
	if _, err := io.Copy(io.Discard, slow); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the first one is not cut off")
	}
}
