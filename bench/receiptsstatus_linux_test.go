package bench

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	kvfleet "kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// BenchmarkReceiptsStatus: `status` of one key and of all, with 5,000 receipts of three
// targets each, beside what it takes to get those receipts from Consul and to throw
// them away.
func BenchmarkReceiptsStatus(b *testing.B) {
	nodes, rounds := number(b, nodesEnv, 5000), number(b, roundsEnv, 21)
	t := buildTools(b, ours)
	server := consultest.Start(b)
	writeReceipts(b, server.Addr, nodes)
	layout, err := kv.NewLayout(prefix)
	if err != nil {
		b.Fatal(err)
	}
	get := func() sample {
		start, cpu := time.Now(), server.CPU()
		n := download(b, "http://"+server.Addr+"/v1/kv/"+layout.NodesDir()+"?recurse")
		return sample{wall: time.Since(start), store: server.CPU() - cpu, bytes: n}
	}
	status := func(args ...string) func() sample {
		return func() sample {
			cpu := server.CPU()
			s := run(b, t.kvexpress, append(append([]string{"status"}, args...), "-s", server.Addr)...)
			s.store = server.CPU() - cpu
			return s
		}
	}
	sides := []struct {
		name string
		run  func() sample
	}{{"the receipts alone", get}, {"status -k hosts", status("-k", string(key))}, {"status", status()}}
	found := make([][]sample, len(sides))
	for round := range rounds + 1 {
		for i, s := range sides {
			if x := s.run(); round > 0 {
				found[i] = append(found[i], x)
			}
		}
	}
	table := newTable()
	fmt.Fprintf(table, "%d receipts, median of %d\tms\tfastest ms\tto the receipts alone\tCPU ms\tConsul CPU ms\tresident MiB\tbytes received\t\n", nodes, rounds)
	wall := func(s sample) float64 { return ms(s.wall) }
	for i, s := range sides {
		bytes := found[0][0].bytes
		if i > 0 {
			c := newCounter(b, server.Addr, 4)
			args := [][]string{{"-k", string(key)}, nil}[i-1]
			run(b, t.kvexpress, append(append([]string{"status"}, args...), "-s", c.addr)...)
			bytes = int64(c.count().bytes)
			c.close()
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.2f ×\t%.0f\t%.0f\t%.1f\t%d\t\n", s.name, median(found[i], wall), fastest(found[i]), ratio(found[i], found[0], wall),
			median(found[i], func(s sample) float64 { return ms(s.cpu) }), median(found[i], func(s sample) float64 { return ms(s.store) }),
			median(found[i], func(s sample) float64 { return float64(s.rss) / 1024 }), bytes)
	}
	b.ReportMetric(median(found[1], wall), "ms-of-a-key")
	b.ReportMetric(median(found[2], wall), "ms-of-all")
	table.print(b)
}

// fastest is the round in which others were in the way least, in ms.
func fastest(s []sample) float64 {
	return ms(slices.MinFunc(s, func(a, b sample) int { return cmp.Compare(a.wall, b.wall) }).wall)
}

// download reads an answer and keeps nothing of it but its size.
func download(b *testing.B, url string) int64 {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := (&http.Transport{DisableCompression: true, DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// writeReceipts publishes eleven keys, and writes the receipts of nodes that have each
// the first of them and two of the others. One node in a hundred could not install.
func writeReceipts(b *testing.B, addr string, nodes int) {
	b.Helper()
	keys := []kv.Key{key}
	for i := range 10 {
		keys = append(keys, kv.Key(fmt.Sprintf("service-%02d", i)))
	}
	pub := newPublisher(b, addr)
	stand := map[kv.Key]kvfleet.Target{}
	for _, k := range keys {
		pub.key = k
		content := pub.content()
		pub.publish(b, content)
		sum := sha256.Sum256(content)
		stand[k] = kvfleet.Target{Key: string(k), SHA256: hex.EncodeToString(sum[:])}
	}
	store, err := consul.New(consul.Options{Addr: addr, Lasting: true})
	if err != nil {
		b.Fatal(err)
	}
	standings, err := (&kvfleet.Reader{Store: store, Layout: pub.Layout}).Standings(b.Context(), keys...)
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range standings {
		t := stand[s.Key]
		t.Lineage, t.Version = s.Manifest.Lineage, s.Manifest.Version
		stand[s.Key] = t
	}
	work := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range work {
				w := kvfleet.Writer{Store: store, Layout: pub.Layout, Node: fmt.Sprintf("web-%04d.dc1.example.net", i)}
				agent := kvfleet.Agent{Version: "2.0.0", Every: kvfleet.Seconds(5 * time.Minute)}
				if err := w.PutAgent(b.Context(), time.Now(), agent, targetsOf(i, keys, stand)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range nodes {
		work <- i
	}
	close(work)
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

func targetsOf(i int, keys []kv.Key, stand map[kv.Key]kvfleet.Target) []kvfleet.Target {
	const us = kvfleet.Millis(time.Microsecond)
	var all []kvfleet.Target
	for n, k := range []kv.Key{keys[0], keys[1+i%5], keys[6+i/5%5]} {
		t := stand[k]
		vary := kvfleet.Millis(i%977) * 7 * us
		t.By, t.File, t.State, t.Since = kvfleet.ByAgent, filepath.Join("/etc/kvexpress", string(k)+".conf"), "current", 4321*us+vary
		t.Placed = &kvfleet.Placed{Age: 2_000_000*us + vary, Steps: kvfleet.Steps{
			Wait: 412*us + vary, Read: 1203*us + vary, Stage: 611*us + vary, Check: 2_345*us + vary, Place: 398*us + vary, Exec: 35_678*us + vary,
		}}
		t.Exec = &kvfleet.Exec{}
		if n == 0 && i%100 == 0 {
			t.Version, t.SHA256, t.State, t.Placed = 0, "", "refused", nil
			t.Reason, t.Detail = "check_failed", "the check of the new file failed"
		}
		all = append(all, t)
	}
	return all
}
