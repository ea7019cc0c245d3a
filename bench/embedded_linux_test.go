package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// startHub starts a hub with the embedded store in a data folder, and waits until it listens.
func startHub(b *testing.B) (addr string, hub *fleet) {
	b.Helper()
	dir := b.TempDir()
	if err := onDisk(dir); err != nil {
		b.Fatal(err)
	}
	build(b, dir, "kvexpress", "scripts/build")
	addr = fmt.Sprintf("127.%d.%d.1:18600", 1+rand.IntN(254), rand.IntN(256))
	hub = newFleet(b, filepath.Join(dir, "hub.log"))
	hub.spawn(nil, filepath.Join(dir, "kvexpress"), "hub", "--listen", addr, "--data-dir", filepath.Join(dir, "data"))
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return addr, hub
		}
		if err := hub.ended(); err != nil {
			b.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// httpConn is one connection that asks one request at a time, with as little as possible between it and the store.
type httpConn struct {
	net.Conn
	r *bufio.Reader
}

func dialHTTP(addr string) (*httpConn, error) {
	conn, err := net.Dial("tcp", addr)
	return &httpConn{Conn: conn, r: bufio.NewReader(conn)}, err
}

// do sends a request and returns the index of its answer.
func (c *httpConn) do(method, path string, body []byte) (uint64, error) {
	req, err := http.NewRequest(method, "http://localhost/v1/kv/"+path, bytes.NewReader(body))
	if err == nil {
		err = req.Write(c)
	}
	if err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(c.r, req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, path, resp.Status, got)
	}
	index, _ := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64) // a PUT has none
	return index, err
}

// BenchmarkEmbeddedWrites: how many single-key writes are made durable a second, by 1 client and by 64.
func BenchmarkEmbeddedWrites(b *testing.B) {
	rounds := number(b, roundsEnv, 9)
	server := consultest.Start(b, consultest.WithData())
	hub, _ := startHub(b)
	for _, clients := range []int{1, 64} {
		var ours, theirs, ratio []float64
		for round := range rounds + 1 {
			c, h := writeRate(b, server.Addr, clients), writeRate(b, hub, clients)
			if round > 0 { // the first warms up
				ours, theirs, ratio = append(ours, h), append(theirs, c), append(ratio, h/c)
			}
		}
		sorted := slices.Sorted(slices.Values(ratio))
		table := newTable()
		fmt.Fprintf(table, "%d clients, %d rounds\thub\tConsul\tratio of neighbours\tquartiles\t\n", clients, rounds)
		fmt.Fprintf(table, "writes/s\t%.0f\t%.0f\t%.2f ×\t%.2f to %.2f\t\n",
			middle(ours), middle(theirs), middle(ratio), quantile(sorted, 0.25), quantile(sorted, 0.75))
		table.print(b)
		b.ReportMetric(middle(ratio), fmt.Sprintf("writes-%d-x-consul", clients))
	}
}

// writeRate is the number of writes a second, over two seconds.
func writeRate(b *testing.B, addr string, clients int) float64 {
	b.Helper()
	var group sync.WaitGroup
	counts, failed := make([]int, clients), make([]error, clients)
	begun := time.Now()
	for i := range clients {
		group.Go(func() {
			conn, err := dialHTTP(addr)
			if err != nil {
				failed[i] = err
				return
			}
			defer conn.Close()
			for ; failed[i] == nil && time.Since(begun) < 2*time.Second; counts[i]++ {
				body := fmt.Appendf(nil, "%d %d", begun.UnixNano(), counts[i])
				_, failed[i] = conn.do(http.MethodPut, fmt.Sprintf("bench/%d", i), body)
			}
		})
	}
	group.Wait()
	took := time.Since(begun)
	if err := errors.Join(failed...); err != nil {
		b.Fatalf("%s: %v", addr, err)
	}
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / took.Seconds()
}

// BenchmarkEmbeddedIdle: what a hub grows by with 10,000 watches that wait, and right after a change.
func BenchmarkEmbeddedIdle(b *testing.B) {
	const path = "kvexpress/hosts/data"
	watches := number(b, "KVEXPRESS_BENCH_WATCHERS", 10_000)
	if err := enoughFiles(uint64(watches + 500)); err != nil {
		b.Fatal(err)
	}
	addr, hub := startHub(b)
	change := func(n int) {
		writer, err := dialHTTP(addr) // a new one: the hub closes idle connections
		if err != nil {
			b.Fatal(err)
		}
		if _, err := writer.do(http.MethodPut, path, hosts(n)); err != nil {
			b.Fatal(err)
		}
	}
	change(0)
	before := hub.memory().resident
	seen := make(chan error, watches)
	for range watches {
		conn, err := dialHTTP(addr)
		if err != nil {
			b.Fatal(err)
		}
		go func() { // ends with the hub
			for index := uint64(0); err == nil; {
				var at uint64
				at, err = conn.do(http.MethodGet, path+"?raw&wait=600s&index="+strconv.FormatUint(index, 10), nil)
				if at != index || err != nil {
					seen <- err
				}
				index = at
			}
		}()
	}
	for n, when := range []string{"", "-after-a-change"} {
		if n > 0 {
			change(n)
		}
		for range watches {
			if err := <-seen; err != nil {
				b.Fatalf("%v\n%s", err, hub.lastWords())
			}
		}
		time.Sleep(3 * time.Second) // the last of them have sent their request
		b.ReportMetric((hub.memory().resident-before)*1.048576*1000/float64(watches), "KB/watch"+when)
	}
	b.ReportMetric(0, "ns/op") // one run means nothing
}
