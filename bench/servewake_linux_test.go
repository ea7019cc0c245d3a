package bench

import (
	"bytes"
	"encoding/base64"
	"fmt"
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
)

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
