package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

// BenchmarkFeed: a hub's view of the store, without agents. From the publish of a hosts file to its snapshot, and what that costs
// Consul and the hub, less the publish itself. Each change is alone: the next one follows 100 ms later. Blocks with and without a
// hub alternate.
func BenchmarkFeed(b *testing.B) {
	const changes = 20
	blocks := number(b, roundsEnv, 5)
	table := newTable()
	fmt.Fprintf(table, "\tpublish to snapshot\tConsul's CPU\tthe hub's CPU\t\n")
	for _, size := range []struct{ keys, locks int }{{1, 0}, {120, 0}, {1000, 0}, {120, 1000}} {
		f := fill(b, size.keys, size.locks)
		var took, theirs, ours []float64
		for range blocks {
			alone := f.block(b, changes)
			f.start(b)
			with := f.block(b, changes)
			f.stop()
			for i := range changes {
				took = append(took, with[i].took)
				theirs, ours = append(theirs, with[i].consul-alone[i].consul), append(ours, with[i].own-alone[i].own)
			}
		}
		fmt.Fprintf(table, "%d keys, %d locks\t%.1f ms\t%.1f ms\t%.1f ms\t\n",
			size.keys, size.locks, middle(took), middle(theirs), middle(ours))
		name := fmt.Sprintf("-%d-keys-%d-locks", size.keys, size.locks)
		b.ReportMetric(middle(took), "ms"+name)
		b.ReportMetric(middle(theirs), "consul-cpu-ms"+name)
	}
	table.print(b)
}

// fedStore is a Consul with keys, and a feed of them that can be started and stopped.
type fedStore struct {
	server *consultest.Server
	store  *consul.Store
	layout kv.Layout
	keys   []kv.Key

	number  uint64     // of the last version
	feed    *feed.Feed // nil while it is stopped
	changes chan feed.Update
	stop    func()
}

func fill(b *testing.B, keys, locks int) *fedStore {
	b.Helper()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		b.Fatal(err)
	}
	f := &fedStore{server: consultest.Start(b), layout: layout, changes: make(chan feed.Update, 10000)}
	if f.store, err = consul.New(consul.Options{Addr: f.server.Addr, Bare: true, Lasting: true}); err != nil {
		b.Fatal(err)
	}
	for i := range keys {
		f.keys = append(f.keys, kv.Key(fmt.Sprintf("team-%d/hosts-%d", i%20, i)))
		f.write(b, f.version(b, f.keys[i], 0, 1)...)
	}
	for i := range locks {
		f.write(b, kv.Op{Verb: kv.Set, Path: layout.Lock("/etc/hosts", fmt.Sprintf("web-%d", i)), Value: []byte("maintenance")})
	}
	return f
}

func (f *fedStore) write(b *testing.B, ops ...kv.Op) {
	b.Helper()
	if _, err := f.store.Commit(b.Context(), ops); err != nil {
		b.Fatal(err)
	}
}

// version is what `in` writes.
func (f *fedStore) version(b *testing.B, k kv.Key, n int, number uint64) []kv.Op {
	b.Helper()
	data := hosts(n)
	m, err := kv.Manifest{Format: kv.ManifestFormat, Lineage: kv.NewID(), Version: number, PublishID: kv.NewID(), Key: k,
		SHA256: record.Checksum(data), Size: int64(len(data)), Lines: 600, Encoding: "plain", PublishedAt: time.Now()}.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	set := func(path string, value []byte) kv.Op { return kv.Op{Verb: kv.Set, Path: path, Value: value} }
	return []kv.Op{
		set(f.layout.Data(k), data), set(f.layout.Checksum(k), []byte(record.Checksum(data))), set(f.layout.Manifest(k), m),
		set(f.layout.HistoryData(k, number), data), set(f.layout.HistoryManifest(k, number), m),
	}
}

// start runs the feed, and returns when it has all keys and its watch waits.
func (f *fedStore) start(b *testing.B) {
	b.Helper()
	f.feed = feed.New(feed.Options{Store: f.store, Layout: f.layout, Log: slog.New(slog.DiscardHandler),
		Changed: func(u feed.Update) { f.changes <- u }})
	for _, k := range f.keys {
		f.feed.Use(k)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.feed.Run(ctx) }()
	f.stop = func() { cancel(); <-done; f.feed = nil }
	for seen := 0; seen < len(f.keys); {
		seen += len((<-f.changes).Keys)
	}
}

// block publishes some versions, and waits until the feed has each, if it runs.
func (f *fedStore) block(b *testing.B, changes int) (costs []cost) {
	b.Helper()
	for range changes {
		f.number++
		k := f.keys[int(f.number)%len(f.keys)]
		ops := f.version(b, k, 1+int(f.number)%200, f.number+1)
		time.Sleep(100 * time.Millisecond) // the watch waits again
		before, begun := f.cost(b), time.Now()
		f.write(b, ops...)
		for f.feed != nil && f.feed.Latest(k).Live.Manifest.Version != f.number+1 {
			<-f.changes
		}
		took := ms(time.Since(begun))
		time.Sleep(50 * time.Millisecond) // work that nothing waits for
		after := f.cost(b)
		costs = append(costs, cost{took, after.consul - before.consul, after.own - before.own})
	}
	return costs
}

// cost is in ms.
type cost struct{ took, consul, own float64 }

func (f *fedStore) cost(b *testing.B) cost {
	b.Helper()
	theirs, err := processCPU(f.server.PID())
	if err != nil {
		b.Fatal(err)
	}
	own, err := processCPU(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	return cost{consul: ms(theirs), own: ms(own)}
}
