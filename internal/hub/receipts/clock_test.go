package receipts_test

import (
	"cmp"
	"context"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// hub is a table as a source of pages.
type hub struct {
	*receipts.Table
	seen map[kv.Key]fleet.SeenVersion
}

func (h hub) Page(ctx context.Context, since uint64, wait time.Duration) (fleet.Page, error) {
	p, err := h.Table.Page(ctx, since, wait, false)
	p.Seen = h.seen
	return p, err
}

// Delivery times need the hub's clock only. Clocks that are wrong, the hub's too, are named, and change nothing.
func TestClocks(t *testing.T) {
	const day = 24 * time.Hour
	for _, off := range []struct{ node, publisher, hub time.Duration }{
		{}, {node: day}, {node: -day}, {publisher: day}, {publisher: -day}, {hub: day}, {hub: -day}, {node: -day, publisher: day, hub: day},
		{node: 3 * time.Second, publisher: -3 * time.Second, hub: 3 * time.Second},
	} {
		run(t, func(t *testing.T, w *world) {
			w.store.ahead = off.hub
			stored := func() time.Time { return time.Now().Add(-off.hub) } // the store's clock
			ms := off.publisher.Milliseconds()
			live := fleet.Live{Key: "hosts", Exists: true, SHA256: "aa", Index: 1, Manifest: &kv.Manifest{Lineage: "l", Version: 2, SHA256: "aa",
				PublishedAt: stored().Add(off.publisher), ClockOffset: &ms}}
			seen := map[kv.Key]fleet.SeenVersion{"hosts": {SHA256: "aa", At: time.Now()}}
			_ = wait.For(context.Background(), 150*time.Millisecond)
			for node, clock := range map[string]time.Time{"good": stored(), "wrong": stored().Add(off.node)} {
				p := part(2)
				p.Clock, p.Targets[0].Lineage, p.Targets[0].SHA256 = clock, "l", "aa"
				p.Targets[0].Placed = &fleet.Placed{Age: fleet.Millis(50 * time.Millisecond)}
				w.Connected(node, 1)
				_ = w.Put(node, p, 100)
			}
			_ = wait.For(context.Background(), time.Second)
			named := map[string]time.Duration{"wrong": off.node, "publisher": off.publisher, "hub": off.hub, "here": off.hub}
			for from, reader := range map[string]fleet.Reader{
				"hub":   {Store: w.store, Layout: w.layout, Hub: hub{w.Table, seen}},
				"store": {Store: w.store, Layout: w.layout},
			} {
				roster, err := reader.Roster(context.Background(), 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				r := fleet.Examine(roster, live, fleet.Options{})
				if r.Converged != 2 || time.Duration(r.Ago) > 5*time.Second {
					t.Errorf("%+v: the %s says %+v", off, from, r)
				}
				if from == "hub" && (r.Delivered.Count != 2 || r.Delivered.P50 != fleet.Millis(100*time.Millisecond) || r.Delivered.Slowest != r.Delivered.P50) {
					t.Errorf("%+v: delivered %+v", off, r.Delivered)
				}
				got := map[string]time.Duration{}
				for _, c := range r.Clocks {
					got[cmp.Or(c.Node, c.Who)] = time.Duration(c.Off)
				}
				for who, by := range named {
					if who == "hub" && from == "store" {
						by = 0
					}
					if got[who] != by {
						t.Errorf("%+v: the %s names %v", off, from, got)
					}
				}
				if got["good"] != 0 {
					t.Errorf("%+v: the %s names %v", off, from, got)
				}
			}
		})
	}
}
