package agent_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/demo"
	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
)

// storeAddr is the address of a store that runs until the test ends: a Consul, or
// with -short an embedded store.
func storeAddr(t *testing.T) string {
	t.Helper()
	if !testing.Short() {
		return consultest.Start(t).Addr
	}
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	addr, end, err := demo.StartStore(t.TempDir(), layout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	})
	return addr
}

// beside is a parallel subtest.
func beside(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		test(t)
	})
}

// tally counts the requests of an agent.
type tally struct {
	watches  atomic.Int64 // requests
	answered atomic.Int64 // of them, with a value
	small    atomic.Int64 // reads without data
	data     atomic.Int64 // reads with data
	fail     atomic.Int64 // how many of the next reads fail
	lag      atomic.Int64 // how many of the next reads of a checksum are answered as the last one was
	receipts atomic.Int64 // writes of receipts that were tried

	last   atomic.Pointer[kv.Snapshot]   // the answer to the last read of a checksum
	refuse atomic.Pointer[error]         // the result of each write of a receipt; nil: success
	slow   atomic.Pointer[chan struct{}] // closed when a write of a receipt may go on; nil: at once

	mu    sync.Mutex
	paths map[string]int // watches by path
}

// of is how often a path was watched.
func (c *tally) of(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.paths[path]
}

func (c *tally) watch(path string) {
	c.watches.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paths == nil {
		c.paths = map[string]int{}
	}
	c.paths[path]++
}

// counted is a store that counts.
type counted struct {
	agent.Store
	*tally
}

func (c *counted) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	c.watch(path)
	entry, err := c.Store.Watch(ctx, path, since, wait)
	if err == nil && entry.State == kv.Present && strings.HasSuffix(path, "/data") {
		c.answered.Add(1)
	}
	return entry, err
}

func (c *counted) Read(ctx context.Context, consistency kv.Consistency, paths ...string) (kv.Snapshot, error) {
	reads, claims := &c.small, false
	for _, path := range paths {
		if strings.HasSuffix(path, "/data") {
			reads = &c.data
		}
		claims = claims || strings.HasSuffix(path, "/checksum")
	}
	reads.Add(1)
	if c.fail.Add(-1) >= 0 {
		return nil, &kv.StoreError{Op: "read", Kind: kv.ErrUnreachable}
	}
	if claims && c.lag.Add(-1) >= 0 {
		return *c.last.Load(), nil
	}
	snap, err := c.Store.Read(ctx, consistency, paths...)
	if claims {
		c.last.Store(&snap)
	}
	return snap, err
}

func (c *counted) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	c.receipts.Add(1)
	if slow := c.slow.Load(); slow != nil {
		select {
		case <-*slow:
		case <-ctx.Done():
		}
	}
	if err := c.refuse.Load(); err != nil {
		return nil, *err
	}
	return c.Store.Commit(ctx, ops)
}

// line is a TCP line to a server, which can be cut.
type line struct {
	addr     string
	upstream string
	accepted atomic.Int64 // connections that clients wanted

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
}

func newLine(t testing.TB, upstream string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &line{addr: l.Addr().String(), upstream: upstream, conns: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.accepted.Add(1)
			all.Go(func() { w.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.cut()
		all.Wait()
	})
	return w
}

// cut ends all connections, and every new one.
func (w *line) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = true
	for conn := range w.conns {
		_ = conn.Close()
	}
}

func (w *line) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = false
}

// keep is false if the line is cut.
func (w *line) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range conns {
		if !w.down {
			w.conns[conn] = true
		}
	}
	return !w.down
}

func (w *line) carry(conn net.Conn) {
	defer conn.Close()
	if !w.keep(conn) {
		return
	}
	up, err := net.Dial("tcp", w.upstream)
	if err != nil {
		return
	}
	defer up.Close()
	if !w.keep(up) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(up, conn); _ = up.(*net.TCPConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(conn, up); _ = conn.(*net.TCPConn).CloseWrite() })
	both.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, conn)
	delete(w.conns, up)
}
