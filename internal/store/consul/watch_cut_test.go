package consul_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
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
