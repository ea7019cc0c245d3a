package receipts_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// peer is another hub over the same store.
type peer struct {
	*receipts.Table
	name  string
	since uint64
	end   func()
}

func (w *world) peer(t *testing.T, name string) *peer {
	p := &peer{name: name}
	p.start(w)
	t.Cleanup(func() { p.end() })
	return p
}

// start starts it, or starts it again.
func (p *peer) start(w *world) {
	p.Table = receipts.New(receipts.Options{Store: w.store, Layout: w.layout, Hub: p.name, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { p.Sync(ctx) })
	all.Go(func() { p.Persist(ctx) })
	p.end = func() { cancel(); all.Wait() }
}

// tell passes on to w what has changed.
func (p *peer) tell(t *testing.T, w *world) {
	t.Helper()
	page, err := p.Page(context.Background(), p.since, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	p.since = page.Index
	w.Take(p.name, page)
}

// contact are the nodes that are there, and how long ago the others were.
func (w *world) contact(t *testing.T) (there map[string]bool, last map[string]time.Duration) {
	t.Helper()
	roster, err := (&fleet.Reader{Store: w.store, Layout: w.layout, Hub: hub{w.Table, nil}}).Roster(context.Background(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	there, last = map[string]bool{}, map[string]time.Duration{}
	for _, n := range roster.Nodes {
		there[n.Name], last[n.Name] = n.Live, time.Duration(n.Receipt.Agent.Age)+time.Since(n.Receipt.Sent)
	}
	return there, last
}

// A hub knows whether a node is there that is connected to another hub, also after that hub has written the receipt to the store.
func TestPeersContact(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		b := w.peer(t, "b")
		_ = wait.For(context.Background(), time.Second)
		b.Connected("web-1", 1)
		_ = b.Put("web-1", part(1), 100)
		b.tell(t, w)
		if there, _ := w.contact(t); !there["web-1"] {
			t.Error("it is not there")
		}
		_ = wait.For(context.Background(), time.Minute)
		if there, _ := w.contact(t); len(w.stored(t, "web-1").Targets) != 1 || !there["web-1"] {
			t.Error("it is not there after its receipt was written to the store")
		}
		b.Connected("web-1", -1)
		b.tell(t, w)
		_ = wait.For(context.Background(), 30*time.Second)
		if there, last := w.contact(t); there["web-1"] || last["web-1"] != 30*time.Second {
			t.Errorf("there: %v, last contact %s ago", there, last["web-1"])
		}
	})
}

// A node that ends right after its receipt was written to the store stays known: what the store says of it is older than what its hub
// says.
func TestEndAfterReceipt(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		b := w.peer(t, "b")
		_ = wait.For(context.Background(), 10*time.Second) // the receipts in the store are read every two seconds
		b.Connected("web-1", 1)
		_ = b.Put("web-1", part(1), 100)
		b.tell(t, w)
		_ = wait.For(context.Background(), 100*time.Millisecond)
		b.Connected("web-1", -1)
		b.tell(t, w)
		_ = wait.For(context.Background(), 2*time.Minute)
		for name, table := range map[string]*receipts.Table{"the hub": b.Table, "its peer": w.Table} {
			p, err := table.Page(context.Background(), 0, 0, false)
			if err != nil || len(p.Rows) != 1 || p.Rows[0].Index != 0 || p.Rows[0].Live {
				t.Errorf("%s: %v, %+v", name, err, p.Rows)
			}
		}
	})
}

// While a hub cannot be asked, its nodes are there as it was known last. What it says of nodes that have moved does not count.
func TestPeerEnds(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		b, c := w.peer(t, "b"), w.peer(t, "c")
		_ = wait.For(context.Background(), time.Second)
		for _, node := range []string{"moves", "gone", "restarts"} {
			b.Connected(node, 1)
			_ = b.Put(node, part(1), 100)
		}
		b.tell(t, w)
		last := time.Now()
		_ = wait.For(context.Background(), 10*time.Second)
		c.Connected("moves", 1)
		_ = c.Put("moves", part(2), 100)
		c.tell(t, w)
		b.Connected("moves", -1)
		b.tell(t, w)
		w.Gone("b", last)
		there, ago := w.contact(t)
		if !there["moves"] || there["gone"] || ago["gone"] != 10*time.Second {
			t.Errorf("there: %v, last contact: %v", there, ago)
		}
		if all, _ := w.list(t, 0); all["moves"].Targets[0].Version != 2 {
			t.Errorf("the old hub's receipt is back: %+v", all["moves"])
		}
		// b comes back, with one of its nodes.
		b.since = 0
		b.tell(t, w)
		if there, _ := w.contact(t); !there["gone"] {
			t.Errorf("there: %v", there)
		}
		b.end()
		b.start(w)
		_ = wait.For(context.Background(), time.Second)
		b.Connected("restarts", 1)
		_ = b.Put("restarts", part(1), 100)
		b.tell(t, w)
		if there, _ := w.contact(t); there["gone"] || !there["restarts"] || !there["moves"] {
			t.Errorf("there: %v", there)
		}
	})
}

// A node that leaves another hub for us, and us at once, is not there.
func TestShortVisit(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		b := w.peer(t, "b")
		_ = wait.For(context.Background(), time.Second)
		b.Connected("web-1", 1)
		_ = b.Put("web-1", part(1), 100)
		b.tell(t, w)
		w.Connected("web-1", 1)
		b.Connected("web-1", -1)
		b.tell(t, w)
		w.Connected("web-1", -1)
		if there, _ := w.contact(t); there["web-1"] {
			t.Error("it is there")
		}
	})
}

// A client with an index of the hub's earlier life gets all rows.
func TestRestartedTable(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		b := w.peer(t, "b")
		_ = wait.For(context.Background(), time.Second)
		_ = b.Put("web-1", part(1), 100)
		_, index := (&world{Table: b.Table}).list(t, 0)
		b.end()
		_ = wait.For(context.Background(), time.Second)
		b.start(w)
		_ = wait.For(context.Background(), time.Second)
		for range 100 {
			_ = b.Put("web-2", part(1), 100)
		}
		if p, err := b.Page(context.Background(), index, 0, false); err != nil || !p.Full {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

// A store that refuses a transaction again and again is not asked without a pause.
func TestConflictsHavePauses(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.store.mu.Lock()
		w.store.down = &kv.StoreError{Op: "write", Kind: kv.ErrConflict}
		w.store.mu.Unlock()
		w.Connected("web-1", 1)
		_ = w.Put("web-1", part(1), 100)
		_ = wait.For(context.Background(), time.Minute)
		if n := w.store.commits.Load(); n > 60*25 {
			t.Errorf("%d transactions in a minute", n)
		}
	})
}
