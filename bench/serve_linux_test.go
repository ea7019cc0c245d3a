package bench

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/consultest"
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
	consul = side{name: "consul", addr: server.Addr, cpu: server.CPU}

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
	p := f.spawn(nil, filepath.Join(dir, "kvexpress"), "serve", "--listen", addr, "--data-dir", filepath.Join(dir, "data"))
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
	conn   net.Conn
	r      *bufio.Reader
	accept string // a header of requests, with its end of line
	zip    *gzip.Reader
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
		fmt.Fprintf(&req, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, c.accept)
	}
	if _, err := c.conn.Write(req.Bytes()); err != nil {
		return nil, 0, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	got, err := c.read(resp)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s %s", method, path, resp.Status, got)
	}
	index, _ := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	return got, index, err
}

// read is the body of an answer, unpacked if it has to be.
func (c *httpConn) read(resp *http.Response) ([]byte, error) {
	if resp.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(resp.Body)
	}
	var err error
	if c.zip == nil {
		c.zip, err = gzip.NewReader(resp.Body)
	} else {
		err = c.zip.Reset(resp.Body)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(c.zip)
}

// crowd is watchers of one key at one store, each with a connection and a file of its own.
type crowd struct {
	side
	writer *httpConn
	seen   chan time.Time // when a watcher had its file in place
	failed chan error
	disk   chan struct{} // as many write at a time as there are processors: 1,200 threads would wait for each other
	conns  []*httpConn
	group  sync.WaitGroup
}

const wakeKey = "/v1/kv/kvexpress/hosts/data"

// wanting is how watchers ask for a key.
type wanting struct {
	name   string
	raw    bool
	accept string
}

// wantings are those of Go's clients of Consul (consul watch, consul-template, whoever uses its library), which have answers
// compressed; of tools that do not; and of kvexpress.
func wantings() []wanting {
	return []wanting{{name: "gzip", accept: "Accept-Encoding: gzip\r\n"}, {name: "JSON"}, {name: "raw", raw: true}}
}

// inMemory is a folder for the watchers' files. Each of 1,200 nodes has a disk of its own; one for all of them would
// be what is measured.
func inMemory(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kvexpress-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// gather starts n watchers.
func gather(b *testing.B, s side, n int, how wanting, dir string) *crowd {
	b.Helper()
	c := &crowd{side: s, seen: make(chan time.Time, n), failed: make(chan error, n), disk: make(chan struct{}, runtime.GOMAXPROCS(0))}
	var err error
	if c.writer, err = dialHTTP(s.addr); err != nil {
		b.Fatal(err)
	}
	c.put(b, hosts(0))
	for i := range n {
		conn, err := dialHTTP(s.addr)
		if err != nil {
			b.Fatal(err)
		}
		conn.accept = how.accept
		c.conns = append(c.conns, conn)
		own := filepath.Join(dir, fmt.Sprintf("%s-%d", s.name, i))
		if err := os.Mkdir(own, 0o700); err != nil {
			b.Fatal(err)
		}
		c.group.Go(func() { c.watch(conn, how.raw, filepath.Join(own, "hosts")) })
	}
	c.all(b)
	return c
}

// watch installs each version: written beside the file, and renamed.
func (c *crowd) watch(conn *httpConn, raw bool, file string) {
	query := "?wait=60s"
	if raw {
		query += "&raw"
	}
	index := uint64(0)
	for {
		body, at, err := conn.do(http.MethodGet, wakeKey+query+"&index="+strconv.FormatUint(index, 10), nil)
		if err == nil && !raw {
			body, err = valueOf(body)
		}
		if err == nil && at == index {
			continue // its time was over
		}
		if err == nil {
			c.disk <- struct{}{}
			err = install(file, body)
			<-c.disk
		}
		if err != nil {
			c.failed <- err // there is room for one of each
			return
		}
		index = at
		c.seen <- time.Now()
	}
}

// valueOf cuts the value out of a row, as quickly as can be: it is the stores that are compared.
func valueOf(row []byte) ([]byte, error) {
	_, rest, _ := bytes.Cut(row, []byte(`"Value":"`))
	value, _, found := bytes.Cut(rest, []byte(`"`))
	if !found {
		return nil, fmt.Errorf("a row without a value: %.100s", row)
	}
	return base64.StdEncoding.AppendDecode(nil, value)
}

func install(file string, content []byte) error {
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (c *crowd) put(b *testing.B, content []byte) {
	b.Helper()
	if _, _, err := c.writer.do(http.MethodPut, wakeKey, content); err != nil {
		b.Fatal(err)
	}
}

// all waits until every watcher has seen a version, and returns when each had.
func (c *crowd) all(b *testing.B) []time.Time {
	b.Helper()
	at := make([]time.Time, 0, len(c.conns))
	limit := time.After(time.Minute)
	for range c.conns {
		select {
		case t := <-c.seen:
			at = append(at, t)
		case err := <-c.failed:
			b.Fatalf("%s: %v", c.name, err)
		case <-limit:
			b.Fatalf("%s: %d of %d have seen the change after a minute", c.name, len(at), len(c.conns))
		}
	}
	return at
}

// leave ends the watchers.
func (c *crowd) leave() {
	for _, conn := range c.conns {
		_ = conn.conn.Close()
	}
	c.group.Wait()
	_ = c.writer.conn.Close()
}

// woken is what one change cost.
type woken struct{ half, last, cpu float64 }

// change publishes, and waits until all have it and the store is at rest again.
func (c *crowd) change(b *testing.B, content []byte) woken {
	b.Helper()
	before := c.cpu()
	sent := time.Now()
	c.put(b, content)
	var took []float64
	for _, at := range c.all(b) {
		took = append(took, ms(at.Sub(sent)))
	}
	slices.Sort(took)
	time.Sleep(300 * time.Millisecond) // all wait again
	return woken{half: quantile(took, 0.5), last: quantile(took, 1), cpu: ms(c.cpu() - before)}
}

// BenchmarkServeWake: what a change of one key costs with 1,200 watchers, at serve and at Consul, both with a data folder.
func BenchmarkServeWake(b *testing.B) {
	nodes, rounds := number(b, nodesEnv, 1200), number(b, roundsEnv, 15)
	if err := enoughFiles(uint64(4*nodes + 200)); err != nil {
		b.Fatal(err)
	}
	consul, serve := storeSides(b)
	for _, how := range wantings() {
		dir := inMemory(b)
		theirs := gather(b, consul, nodes, how, dir)
		ours := gather(b, serve, nodes, how, dir)
		var x, y []woken
		for i := range rounds + 2 {
			content := hosts(i + 1)
			c, s := theirs.change(b, content), ours.change(b, content)
			if i >= 2 {
				x, y = append(x, s), append(y, c)
			}
		}
		theirs.leave()
		ours.leave()
		table := newTable()
		fmt.Fprintf(table, "%d watchers, %s, %d rounds\tserve\tConsul\tratio of neighbours\tquartiles\t\n", nodes, how.name, rounds)
		for _, col := range []struct {
			name string
			of   func(woken) float64
		}{
			{"half-ms", func(w woken) float64 { return w.half }},
			{"last-ms", func(w woken) float64 { return w.last }},
			{"cpu-ms", func(w woken) float64 { return w.cpu }},
		} {
			var ours, theirs, ratio []float64
			for i := range x {
				ours, theirs, ratio = append(ours, col.of(x[i])), append(theirs, col.of(y[i])), append(ratio, col.of(x[i])/col.of(y[i]))
			}
			sorted := slices.Sorted(slices.Values(ratio))
			fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.2f ×\t%.2f to %.2f\t\n", col.name, middle(ours), middle(theirs), middle(ratio), quantile(sorted, 0.25), quantile(sorted, 0.75))
			b.ReportMetric(middle(ratio), strings.ToLower(how.name)+"-"+col.name+"-x-consul")
		}
		table.print(b)
	}
}

// BenchmarkServeIdle: what serve's process grows by with 10,000 watchers that wait, whose process is another one.
func BenchmarkServeIdle(b *testing.B) {
	watchers := number(b, "KVEXPRESS_BENCH_WATCHERS", 10_000)
	if err := enoughFiles(uint64(watchers + 500)); err != nil {
		b.Fatal(err)
	}
	_, serve := storeSides(b)
	writer, err := dialHTTP(serve.addr)
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := writer.do(http.MethodPut, wakeKey, hosts(0)); err != nil {
		b.Fatal(err)
	}
	table := newTable()
	fmt.Fprintf(table, "%d watchers, after change\tMiB before\tMiB with them\tKB each\t\n", watchers)
	before, err := processMemory(serve.pid)
	if err != nil {
		b.Fatal(err)
	}
	f := newFleet(b, filepath.Join(b.TempDir(), "idle.log"))
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ready := filepath.Join(b.TempDir(), "ready")
	f.spawn([]string{childEnv + "=idle", "IDLE=" + serve.addr + " " + strconv.Itoa(watchers) + " " + ready}, self)
	grown := func(round string) float64 {
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if got, err := os.ReadFile(ready); err == nil && string(got) == round {
				break
			}
			if time.Now().After(end) {
				b.Fatalf("the watchers are not there\n%s", f.lastWords())
			}
		}
		time.Sleep(3 * time.Second) // the last of them have sent their request
		after, err := processMemory(serve.pid)
		if err != nil {
			b.Fatal(err)
		}
		each := (after.resident - before.resident) * 1.048576 * 1000 / float64(watchers)
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f\t\n", round, before.resident, after.resident, each)
		return each
	}
	first := grown("1")
	if _, _, err := writer.do(http.MethodPut, wakeKey, hosts(1)); err != nil {
		b.Fatal(err)
	}
	second := grown("2")
	table.print(b)
	b.ReportMetric(first, "KB/watcher")
	b.ReportMetric(second, "KB/watcher-after-a-change")
}

// runIdle is the process of the watchers: it notes in a file how many changes all of them have seen.
func runIdle(spec string) error {
	var addr, ready string
	var n int
	if _, err := fmt.Sscan(spec, &addr, &n, &ready); err != nil {
		return err
	}
	type news struct{ err error }
	seen := make(chan news, n)
	for range n {
		conn, err := dialHTTP(addr)
		if err != nil {
			return err
		}
		conn.r = bufio.NewReaderSize(conn.conn, 4<<10)
		go func() { // ends with the process
			index := uint64(0)
			for {
				_, at, err := conn.do(http.MethodGet, wakeKey+"?raw&wait=600s&index="+strconv.FormatUint(index, 10), nil)
				if at != index || err != nil {
					seen <- news{err}
				}
				if index = at; err != nil {
					return
				}
			}
		}()
	}
	for round := 1; ; round++ {
		for range n {
			if got := <-seen; got.err != nil {
				return got.err
			}
		}
		if err := os.WriteFile(ready, []byte(strconv.Itoa(round)), 0o600); err != nil {
			return err
		}
	}
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
		fmt.Fprintf(table, "writes/s\t%.0f\t%.0f\t%.2f ×\t%.2f to %.2f\t\n", middle(ours), middle(theirs), middle(ratio), quantile(sorted, 0.25), quantile(sorted, 0.75))
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
