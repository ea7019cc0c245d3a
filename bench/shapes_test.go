package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	"kvexpress/internal/kv"
)

// A shape is a way to learn of a change and to get the bytes. fetch waits until
// the key is no longer at index, and returns its data and the new index.
type shape struct {
	name  string
	fetch func(ctx context.Context, n *watcher, index uint64) ([]byte, uint64, error)
}

// watcher is one node: it shares nothing with the others but the process.
type watcher struct {
	base   string // http://host:port
	client *http.Client
	small  []string // paths of the rows other than the data
	dir    string   // path of the key, with a slash at the end
	cost   *cost
}

// cost is what all watchers together sent and received.
type cost struct{ requests, bytes atomic.Int64 }

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

func newWatcher(addr string, l kv.Layout, c *cost) *watcher {
	dial := func(ctx context.Context, network, to string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, to)
		if err != nil {
			return nil, err
		}
		return countedConn{conn, &c.bytes}, nil
	}
	return &watcher{
		base: "http://" + addr, client: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}},
		small: []string{l.Checksum("hosts"), l.Manifest("hosts"), l.Stop("hosts"), l.Lock("/f", "host")}, dir: l.Dir("hosts"), cost: c,
	}
}

func (n *watcher) do(ctx context.Context, method, path string, body []byte) ([]byte, uint64, error) {
	n.cost.requests.Add(1)
	req, err := http.NewRequestWithContext(ctx, method, n.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, got)
	}
	index, _ := strconv.ParseUint(resp.Header.Get("X-Consul-Index"), 10, 64)
	return got, index, err
}

// wait asks for a path until it has another index.
func (n *watcher) wait(ctx context.Context, path, query string, index uint64) ([]byte, uint64, error) {
	for {
		got, now, err := n.do(ctx, http.MethodGet, fmt.Sprintf("/v1/kv/%s?stale&wait=60s&index=%d%s", path, index, query), nil)
		if err != nil || now != index {
			return got, now, err
		}
	}
}

// read is one read transaction.
func (n *watcher) read(ctx context.Context, paths ...string) (map[string][]byte, error) {
	var ops []map[string]map[string]string
	for _, p := range paths {
		ops = append(ops, map[string]map[string]string{"KV": {"Verb": "get-or-empty", "Key": p}})
	}
	body, err := json.Marshal(ops)
	if err != nil {
		return nil, err
	}
	got, _, err := n.do(ctx, http.MethodPut, "/v1/txn", body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []struct {
			KV struct {
				Key   string
				Value []byte
			}
		}
	}
	err = json.Unmarshal(got, &answer)
	rows := map[string][]byte{}
	for _, r := range answer.Results {
		rows[r.KV.Key] = r.KV.Value
	}
	return rows, err
}

func recursive(ctx context.Context, n *watcher, index uint64) ([]byte, uint64, error) {
	got, now, err := n.wait(ctx, n.dir, "&recurse", index)
	if err != nil {
		return nil, 0, err
	}
	var rows []struct {
		Key   string
		Value []byte
	}
	err = json.Unmarshal(got, &rows)
	for _, r := range rows {
		if r.Key == n.dir+"data" {
			return r.Value, now, err
		}
	}
	return nil, now, errors.Join(err, errors.New("no data"))
}

func shapes() []shape {
	return []shape{
		{"recursive", recursive},
		// The lock is not below the key: it has to be asked for.
		{"recursive, then lock", func(ctx context.Context, n *watcher, index uint64) ([]byte, uint64, error) {
			data, now, err := recursive(ctx, n, index)
			if err == nil {
				_, err = n.read(ctx, n.small[2:]...)
			}
			return data, now, err
		}},
		{"wake on checksum, then read all", func(ctx context.Context, n *watcher, index uint64) ([]byte, uint64, error) {
			_, now, err := n.wait(ctx, n.small[0], "", index)
			if err != nil {
				return nil, 0, err
			}
			rows, err := n.read(ctx, append([]string{n.dir + "data"}, n.small...)...)
			return rows[n.dir+"data"], now, err
		}},
		{"wake with raw data, then read small", func(ctx context.Context, n *watcher, index uint64) ([]byte, uint64, error) {
			data, now, err := n.wait(ctx, n.dir+"data", "&raw", index)
			if err == nil {
				_, err = n.read(ctx, n.small...)
			}
			return data, now, err
		}},
		{"raw data alone", func(ctx context.Context, n *watcher, index uint64) ([]byte, uint64, error) {
			return n.wait(ctx, n.dir+"data", "&raw", index)
		}},
	}
}

// BenchmarkShapes: what it costs to tell a fleet of a change, without the install.
func BenchmarkShapes(b *testing.B) {
	for _, nodes := range []int{1, 200, 1200} {
		for _, s := range shapes() {
			b.Run(fmt.Sprintf("%s/%d", s.name, nodes), func(b *testing.B) { runShape(b, s, nodes) })
		}
	}
}

func runShape(b *testing.B, s shape, nodes int) {
	const changes = 11
	consul := consultest.Start(b)
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		b.Fatal(err)
	}
	put(b, consul.Addr, layout, "hosts", hosts(0))
	var c cost
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	var have atomic.Int64 // nodes that have the newest
	var want atomic.Pointer[[]byte]
	first := hosts(0)
	want.Store(&first)
	for range nodes {
		n := newWatcher(consul.Addr, layout, &c)
		wg.Go(func() {
			index := uint64(0)
			for ctx.Err() == nil {
				data, now, err := s.fetch(ctx, n, index)
				if err != nil {
					if ctx.Err() == nil {
						b.Error(err)
					}
					return
				}
				index = now
				if bytes.Equal(data, *want.Load()) {
					have.Add(1)
				}
			}
		})
	}
	settle := func() {
		for deadline := time.Now().Add(time.Minute); have.Load() < int64(nodes); time.Sleep(200 * time.Microsecond) {
			if time.Now().After(deadline) || b.Failed() {
				b.Fatalf("%d of %d nodes have it", have.Load(), nodes)
			}
		}
	}
	settle()
	time.Sleep(200 * time.Millisecond)
	var v []sample
	requests, bytesNow := c.requests.Load(), c.bytes.Load()
	for i := range changes {
		next := hosts(i + 1)
		have.Store(0)
		want.Store(&next)
		cpu, start := consul.CPU(), time.Now()
		put(b, consul.Addr, layout, "hosts", next)
		settle()
		v = append(v, sample{wall: time.Since(start), cpu: consul.CPU() - cpu})
		time.Sleep(100 * time.Millisecond) // so that all wait again
	}
	b.ReportMetric(median(v, func(s sample) float64 { return s.wall.Seconds() * 1000 }), "last-ms")
	b.ReportMetric(median(v, func(s sample) float64 { return s.cpu.Seconds() * 1000 / float64(nodes) }), "consul-cpu-ms/node")
	b.ReportMetric(float64(c.requests.Load()-requests)/float64(changes*nodes), "requests/node")
	b.ReportMetric(float64(c.bytes.Load()-bytesNow)/float64(changes*nodes), "bytes/node")
	b.ReportMetric(0, "ns/op")
	cancel()
	wg.Wait()
}
