package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
)

// side is one of the stores that are compared.
type side struct {
	name string
	addr string
	cpu  func() time.Duration
	pid  int // of serve; 0: Consul's is consultest's
}

// storeSides starts a Consul server with a data folder, and serve with one.
func storeSides(b *testing.B) (consul, serve side) {
	b.Helper()
	dir := b.TempDir()
	if err := onDisk(dir); err != nil {
		b.Fatal(err)
	}
	server := consultest.Start(b, consultest.WithData())
	consul = side{name: "consul", addr: server.Addr, cpu: func() time.Duration { return consulCPU(b, server) }}

	build(b, dir, "kvexpress", "scripts/build")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		b.Fatal(err)
	}
	f := newFleet(b, filepath.Join(dir, "serve.log"))
	p := f.spawn(nil, filepath.Join(dir, "kvexpress"), "hub", "--listen", addr, "--data-dir", filepath.Join(dir, "data"))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(end) {
			b.Fatalf("serve does not listen: %v\n%s", err, f.lastWords())
		}
	}
	return consul, side{name: "serve", addr: addr, cpu: f.cpu, pid: p.pid()}
}

// httpConn is one connection that asks one request at a time, with as little as possible between it and the store.
type httpConn struct {
	conn net.Conn
	r    *bufio.Reader
}

func dialHTTP(addr string) (*httpConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &httpConn{conn: conn, r: bufio.NewReaderSize(conn, 32<<10)}, nil
}

// do sends a request and returns the body and the index of its answer.
func (c *httpConn) do(method, path string, body []byte) ([]byte, uint64, error) {
	var req bytes.Buffer
	fmt.Fprintf(&req, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", method, path, len(body))
	req.Write(body)
	if method == http.MethodGet {
		req.Reset()
		fmt.Fprintf(&req, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	}
	if _, err := c.conn.Write(req.Bytes()); err != nil {
		return nil, 0, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, path, resp.Status, got)
	}
	index, _ := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	return got, index, err
}

// BenchmarkServeWrites: how many single-key writes are made durable a second, by 1 client and by 64.
func BenchmarkServeWrites(b *testing.B) {
	rounds, length := number(b, roundsEnv, 9), 2*time.Second
	consul, serve := storeSides(b)
	for _, clients := range []int{1, 64} {
		rate := func(s side) float64 { return writeRate(b, s, clients, length) }
		rate(consul)
		rate(serve)
		var ours, theirs, ratio []float64
		for range rounds {
			c, s := rate(consul), rate(serve)
			ours, theirs, ratio = append(ours, s), append(theirs, c), append(ratio, s/c)
		}
		sorted := slices.Sorted(slices.Values(ratio))
		table := newTable()
		fmt.Fprintf(table, "%d clients, %d rounds\tserve\tConsul\tratio of neighbours\tquartiles\t\n", clients, rounds)
		fmt.Fprintf(table, "writes/s\t%.0f\t%.0f\t%.2f ×\t%.2f to %.2f\t\n",
			middle(ours), middle(theirs), middle(ratio), quantile(sorted, 0.25), quantile(sorted, 0.75))
		table.print(b)
		b.ReportMetric(middle(ratio), fmt.Sprintf("writes-%d-x-consul", clients))
	}
}

func writeRate(b *testing.B, s side, clients int, length time.Duration) float64 {
	b.Helper()
	var group sync.WaitGroup
	counts, failed := make([]int, clients), make([]error, clients)
	begun := time.Now()
	for i := range clients {
		group.Go(func() {
			conn, err := dialHTTP(s.addr)
			if err != nil {
				failed[i] = err
				return
			}
			defer conn.conn.Close()
			for n := 0; time.Since(begun) < length; n++ {
				body := fmt.Appendf(nil, "%d %d", begun.UnixNano(), n)
				if _, _, err := conn.do(http.MethodPut, fmt.Sprintf("/v1/kv/bench/%d", i), body); err != nil {
					failed[i] = err
					return
				}
				counts[i]++
			}
		})
	}
	group.Wait()
	took := time.Since(begun)
	if err := errors.Join(failed...); err != nil {
		b.Fatalf("%s: %v", s.name, err)
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / took.Seconds()
}
