package receipts_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

// world is a table over an embedded store in memory.
type world struct {
	*receipts.Table
	store  *counted
	layout kv.Layout
}

// counted counts transactions, and can be unreachable.
type counted struct {
	*embedded.Store
	commits atomic.Int64
	ahead   time.Duration // our clock, of the store's
	mu      sync.Mutex
	down    error
}

// Offset implements kv.Clock.
func (c *counted) Offset() (time.Duration, bool) { return c.ahead, true }

func (c *counted) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	c.commits.Add(1)
	c.mu.Lock()
	err := c.down
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return c.Store.Commit(ctx, ops)
}

func run(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		engine, err := embedded.Open(embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{store: &counted{Store: engine.Store()}}
		w.layout, _ = kv.NewLayout("kvexpress")
		w.Table = receipts.New(receipts.Options{Store: w.store, Layout: w.layout, Hub: "hub-1", Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		all.Go(func() { w.Sync(ctx) })
		all.Go(func() { w.Persist(ctx) })
		test(t, w)
		cancel()
		all.Wait()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
}

func part(version uint64) fleet.Part {
	return fleet.Part{Clock: time.Now(), Agent: fleet.Agent{Version: "2", Every: fleet.Millis(5 * time.Minute)},
		Targets: []fleet.Target{{By: fleet.ByAgent, Key: "hosts", File: "/etc/hosts", Version: version, Outcome: outcome.Converged}}}
}

// stored is the receipt of a node in the store.
func (w *world) stored(t *testing.T, node string) fleet.Receipt {
	t.Helper()
	rows, err := w.store.Read(context.Background(), kv.Default, w.layout.Node(node))
	if err != nil {
		t.Fatal(err)
	}
	row := rows[w.layout.Node(node)]
	if row.State != kv.Present {
		return fleet.Receipt{}
	}
	r, err := fleet.ParseReceipt(node, row.Value, row.Flags)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// list is what a client has that follows the table.
func (w *world) list(t *testing.T, since uint64) (map[string]fleet.Receipt, uint64) {
	t.Helper()
	p, err := w.Page(context.Background(), since, time.Minute, false)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]fleet.Receipt{}
	for _, row := range p.Rows {
		if row.Removed {
			found[row.Node] = fleet.Receipt{}
			continue
		}
		r, err := fleet.ParseReceipt(row.Node, row.Value, row.Flags)
		if err != nil {
			t.Fatal(err)
		}
		found[row.Node] = r
	}
	return found, p.Index
}

// 1,200 receipts that come at once are 19 transactions; a change of times alone is none.
func TestBatches(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for i := range 1200 {
			node := fmt.Sprintf("web-%d", i)
			w.Connected(node, 1)
			if err := w.Put(node, part(1), 100); err != nil {
				t.Fatal(err)
			}
		}
		_ = wait.For(context.Background(), time.Second)
		if n := w.store.commits.Load(); n < 19 || n > 25 {
			t.Errorf("%d transactions", n)
		}
		for i := range 1200 {
			if r := w.stored(t, fmt.Sprintf("web-%d", i)); len(r.Targets) != 1 {
				t.Fatalf("got %+v", r)
			}
		}
		before := w.store.commits.Load()
		for i := range 1200 {
			if err := w.Put(fmt.Sprintf("web-%d", i), part(1), 100); err != nil {
				t.Fatal(err)
			}
		}
		_ = wait.For(context.Background(), time.Minute)
		if n := w.store.commits.Load() - before; n != 0 {
			t.Errorf("%d transactions for heartbeats", n)
		}
	})
}

// A client that waits gets each change once, and at once.
func TestList(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.Connected("web-1", 1)
		_ = w.Put("web-1", part(1), 100)
		all, index := w.list(t, 0)
		if all["web-1"].Targets[0].Version != 1 {
			t.Errorf("got %+v", all)
		}
		began := time.Now()
		go func() { _ = w.Put("web-2", part(2), 100) }()
		all, index = w.list(t, index)
		if len(all) != 1 || all["web-2"].Targets[0].Version != 2 || time.Since(began) > 0 {
			t.Errorf("after %s got %+v", time.Since(began), all)
		}
		if all, _ := w.list(t, index+1000); len(all) != 2 {
			t.Errorf("with an index of another hub: %+v", all)
		}
	})
}

// What `out` and other hubs write is merged; the agent's own receipt wins as long as it is connected.
func TestOthersWrite(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.Connected("web-1", 1)
		_ = w.Put("web-1", part(1), 100)
		_ = wait.For(context.Background(), time.Second)
		out := fleet.Writer{Store: w.store, Layout: w.layout, Node: "web-1"}
		if _, err := out.PutOut(context.Background(), time.Now(), fleet.Target{By: fleet.ByOut, Key: "adhoc", File: "/tmp/x",
			Outcome: outcome.Converged}); err != nil {
			t.Fatal(err)
		}
		_ = w.Put("web-1", part(2), 100) // before the table has seen it
		_ = wait.For(context.Background(), 10*time.Second)
		if r := w.stored(t, "web-1"); len(r.Targets) != 2 || r.Targets[0].Version != 2 {
			t.Errorf("the store has %+v", r.Targets)
		}
		if all, _ := w.list(t, 0); len(all["web-1"].Targets) != 2 {
			t.Errorf("the table has %+v", all)
		}
		// Another hub has the agent now.
		w.Connected("web-1", -1)
		other := fleet.Writer{Store: w.store, Layout: w.layout, Node: "web-1"}
		p := part(3)
		if err := other.PutAgent(context.Background(), time.Now(), p.Agent, p.Targets); err != nil {
			t.Fatal(err)
		}
		_ = wait.For(context.Background(), 10*time.Second)
		if all, _ := w.list(t, 0); all["web-1"].Targets[0].Version != 3 {
			t.Errorf("the table has %+v", all)
		}
	})
}

// A hub has the receipts of another hub's agents at once, and its own are never replaced.
func TestPeers(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		other := receipts.New(receipts.Options{Store: w.store, Layout: w.layout, Hub: "hub-1", Log: slog.New(slog.DiscardHandler)})
		for i, table := range []*receipts.Table{other, w.Table} {
			table.Connected("web-1", 1)
			_ = table.Put("web-1", part(uint64(1+i)), 100)
		}
		other.Connected("web-2", 1)
		_ = other.Put("web-2", part(7), 100)
		elsewhere := fleet.Writer{Store: w.store, Layout: w.layout, Node: "elsewhere"}
		if err := elsewhere.PutAgent(context.Background(), time.Now(), part(7).Agent, part(7).Targets); err != nil {
			t.Fatal(err)
		}
		if p, err := other.Page(context.Background(), 0, time.Second, true); err == nil {
			t.Errorf("a table that has not read the store answers: %+v", p)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var syncing sync.WaitGroup
		syncing.Go(func() { other.Sync(ctx) })
		p, err := other.Page(context.Background(), 0, time.Minute, true)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		syncing.Wait()
		w.Take("other", p)
		got, _ := w.list(t, 0)
		if len(p.Rows) != 2 || got["web-1"].Targets[0].Version != 2 || got["web-2"].Targets[0].Version != 7 {
			t.Errorf("got %+v", got)
		}
	})
}

// While the store is unreachable, the table goes on, and writes later.
func TestStoreUnreachable(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		_ = wait.For(context.Background(), time.Second)
		w.store.mu.Lock()
		w.store.down = &kv.StoreError{Op: "write", Kind: kv.ErrUnreachable}
		w.store.mu.Unlock()
		w.Connected("web-1", 1)
		_ = w.Put("web-1", part(1), 100)
		_ = wait.For(context.Background(), time.Minute)
		if all, _ := w.list(t, 0); len(all["web-1"].Targets) != 1 {
			t.Errorf("got %+v", all)
		}
		w.store.mu.Lock()
		w.store.down = nil
		w.store.mu.Unlock()
		_ = wait.For(context.Background(), time.Minute)
		if r := w.stored(t, "web-1"); len(r.Targets) != 1 {
			t.Errorf("the store has %+v", r)
		}
	})
}

// A table has limits, which count what a receipt takes in memory. A node that never reported leaves nothing behind.
func TestLimits(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for i := range 200_000 {
			w.Connected(fmt.Sprintf("name-%d", i), 1)
			w.Connected(fmt.Sprintf("name-%d", i), -1)
		}
		p := part(1)
		p.Targets = slices.Repeat(p.Targets, fleet.MaxTargets) // 1 MiB
		if err := w.Put("web-1", p, 511<<20+1); err == nil {
			t.Error("512 MiB and a byte were taken")
		}
		if err := w.Put("web-1", p, 511<<20); err != nil {
			t.Error(err)
		}
		if err := w.Put("web-2", p, 1); err == nil {
			t.Error("512 MiB and another receipt were taken")
		}
	})
}
