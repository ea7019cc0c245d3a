package consul_test

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// For any bytes as an answer: no panic, no entry and no absence without an index, no bytes that were not sent, and errors of one kind, fit to
// show and without the token.
func FuzzWatchAnswer(f *testing.F) {
	const head = "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\n"
	for _, seed := range []string{
		head + "Content-Length: 1\r\n\r\nx",
		head + "Content-Length: 0\r\n\r\n",
		head + "Content-Length: 9\r\n\r\nx",
		head + "Content-Length: -1\r\n\r\nx",
		head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
		head + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\nx\r\n0\r\nX-Consul-Index: 9\r\n\r\n",
		head + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
		head + "Connection: close\r\n\r\nx",
		head + "X-Consul-Index: 8\r\nContent-Length: 1\r\n\r\nx",
		head + "X-Consul-KnownLeader: false\r\nContent-Length: 1\r\n\r\nx",
		head,
		"HTTP/1.0 200 OK\r\nX-Consul-Index: 7\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nX-Consul-Index: 0\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nX-Consul-Index: " + token + "\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 404 Not Found\r\nX-Consul-Index: 7\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 403 Forbidden\r\nX-Consul-Index: 7\r\nContent-Length: 36\r\n\r\n" + token,
		"HTTP/1.1 500 " + token + "\r\nContent-Length: 17\r\n\r\nNo cluster leader",
		"HTTP/1.1 302 Found\r\nLocation: http://x/" + token + "\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + head + "Content-Length: 1\r\n\r\nx",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nX-Consul-Index: 7\r\n\r\nx",
		"HTTP/1.1 200 OK\r\n\x1b[31m" + token + "\r\n\r\n",
		"220 " + token + "\x1b[31m ESMTP\r\n\r\n",
		strings.Repeat("\xff", 80) + "\r\n\r\n", // four characters each, in an error
		"",
	} {
		f.Add([]byte(seed))
	}

	server := newReplay(f)
	s := open(f, consul.Options{Addr: server.addr, Token: token, Timeout: 20 * time.Second})
	f.Fuzz(func(t *testing.T, sent []byte) {
		server.answer(sent)
		entry, err := s.Watch(t.Context(), readPath, 7, short)
		if err != nil {
			checkOneKind(t, "Watch", err)
			if entry.State != kv.Denied || entry.Value != nil || entry.Index != 0 {
				t.Errorf("Watch gives %+v beside its error %v", entry, err)
			}
			return
		}
		status := map[kv.State]string{kv.Present: " 200", kv.Absent: " 404"}[entry.State]
		if entry.Index == 0 || status == "" || !bytes.Contains(sent, []byte(status)) ||
			!bytes.Contains(bytes.ToLower(sent), []byte("x-consul-index")) {
			t.Errorf("Watch takes %q for %+v", sent, entry)
		}
		if entry.State == kv.Absent && len(entry.Value) > 0 {
			t.Errorf("Watch gives an absent entry the value %q", entry.Value)
		}
		chunked := strings.Contains(strings.ToLower(string(sent)), "chunked")
		if !chunked && !bytes.Contains(sent, entry.Value) || len(entry.Value) > len(sent) {
			t.Errorf("Watch gives %q, which was not sent in %q", entry.Value, sent)
		}
	})
}

// replay answers every request with the same bytes, and closes the connection.
// It listens on a Unix socket, so that it never runs out of ports.
type replay struct {
	addr string

	mu   sync.Mutex
	sent []byte
}

func (r *replay) answer(sent []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = bytes.Clone(sent)
}

func newReplay(t testing.TB) *replay {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &replay{addr: "unix://" + path}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			group.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	return r
}

func (r *replay) serve(conn net.Conn) {
	defer conn.Close()
	// Read the whole request, or the client's kernel would drop the answer.
	request := make([]byte, 4<<10)
	for read := 0; !bytes.Contains(request[:read], []byte("\r\n\r\n")); {
		n, err := conn.Read(request[read:])
		if read += n; err != nil {
			return
		}
	}
	r.mu.Lock()
	sent := r.sent
	r.mu.Unlock()
	_, _ = conn.Write(sent) // the client may have left
}
