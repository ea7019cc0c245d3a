package consul_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// wire is a TCP proxy in front of Consul, which can cut answers.
type wire struct {
	addr     string
	limit    atomic.Int64 // bytes of answers that each connection passes; -1 is all
	reset    atomic.Bool  // a cut is a reset, not an orderly end
	accepted atomic.Int64 // connections so far
	passed   atomic.Int64 // bytes of answers so far
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: listener.Addr().String()}
	w.limit.Store(-1)
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			w.accepted.Add(1)
			group.Go(func() { w.pass(ctx, conn.(*net.TCPConn), to) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		group.Wait()
	})
	return w
}

// pass serves one connection until either side ends it, or the cut.
func (w *wire) pass(ctx context.Context, client *net.TCPConn, to string) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	answer := io.Reader(server)
	if limit := w.limit.Load(); limit >= 0 {
		answer = io.LimitReader(server, limit)
	}
	_, _ = io.Copy(client, &counter{answer, &w.passed})
	if w.reset.Load() {
		_ = client.SetLinger(0)
	}
	_ = client.Close()
}

type counter struct {
	io.Reader
	count *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.count.Add(int64(n))
	return n, err
}

// tricky is a value that contains the bytes around a value.
const tricky = "x\r\n0\r\n\r\nHTTP/1.1 404 Not Found\r\nX-Consul-Index: 9\r\n\r\n\x00" +
	"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nthe end"

// An answer of a proxy, in forms that Consul does not use, is cut after each of its bytes.
func TestWatchCutForms(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nX-Consul-Index: 77\r\n"
	chunks := fmt.Sprintf("%x\r\n%s\r\n%x;note=1\r\n%s\r\n0\r\n", 10, tricky[:10], len(tricky)-10, tricky[10:])
	whole := kv.Entry{State: kv.Present, Value: []byte(tricky), Index: 77}
	tests := []struct {
		name, answer string
		refused      bool // even if nothing is missing
	}{
		{"length", head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(tricky)) + tricky, false},
		{"length, then closed", head + fmt.Sprintf("Connection: close\r\nContent-Length: %d\r\n\r\n", len(tricky)) + tricky, false},
		{"length after an early hint", "HTTP/1.1 103 Early Hints\r\nX-Consul-Index: 3\r\n\r\n" + head +
			fmt.Sprintf("Content-Length: %d\r\n\r\n", len(tricky)) + tricky, false},
		{"chunks", head + "Transfer-Encoding: chunked\r\n\r\n" + chunks + "\r\n", false},
		{"chunks and a trailer", head + "Trailer: X-Consul-Index\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks +
			"X-Consul-Index: 99\r\n\r\n", false},
		{"until it is closed", head + "\r\n" + tricky, true},
		{"until it is closed, and says so", head + "Connection: close\r\n\r\n" + tricky, true},
		{"HTTP/1.0", strings.Replace(head, "1.1", "1.0", 1) + "\r\n" + tricky, true},
	}
	server := newReplay(t)
	s := open(t, consul.Options{Addr: server.addr, Token: token})
	for _, test := range tests {
		for cut := range len(test.answer) {
			server.answer([]byte(test.answer[:cut]))
			entry, err := s.Watch(t.Context(), readPath, 0, short)
			checkCut(t, fmt.Sprintf("%s, cut after %d of %d bytes", test.name, cut, len(test.answer)), entry, err, whole)
		}
		server.answer([]byte(test.answer))
		entry, err := s.Watch(t.Context(), readPath, 0, short)
		if test.refused {
			checkError(t, test.name, err, kv.ErrNotStore)
		} else if err != nil || !same(entry, whole) {
			t.Errorf("%s gives state %d, %q, index %d and %v, want the entry", test.name, entry.State, entry.Value, entry.Index, err)
		}
	}
}

func same(a, b kv.Entry) bool {
	return a.State == b.State && bytes.Equal(a.Value, b.Value) && a.Index == b.Index
}

func checkCut(t *testing.T, name string, entry kv.Entry, err error, whole kv.Entry) {
	t.Helper()
	switch {
	case err == nil && !same(entry, whole):
		t.Errorf("%s: state %d, value %q, index %d, want an error", name, entry.State, entry.Value, entry.Index)
	case err != nil:
		checkOneKind(t, name, err)
		if entry.State != kv.Denied || entry.Value != nil || entry.Index != 0 {
			t.Errorf("%s: %+v beside the error %v", name, entry, err)
		}
	}
}
