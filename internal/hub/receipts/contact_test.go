package receipts_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

// `forget` removes a node that is gone; one that is connected comes back.
func TestForget(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		for node, live := range map[string]int{"gone": 0, "here": 1} {
			w.Connected(node, 1)
			_ = w.Put(node, part(1), 100)
			_ = wait.For(context.Background(), time.Second)
			w.Connected(node, live-1)
			if _, err := w.store.Commit(context.Background(), []kv.Op{{Verb: kv.Delete, Path: w.layout.Node(node)}}); err != nil {
				t.Fatal(err)
			}
		}
		_ = wait.For(context.Background(), 10*time.Second)
		all, _ := w.list(t, 0)
		if _, there := all["gone"]; there || len(all["here"].Targets) != 1 || len(w.stored(t, "here").Targets) != 1 {
			t.Errorf("got %+v", all)
		}
	})
}

// A node is there as long as its agent is connected, though it reports nothing. A store tells nothing of that.
func TestContact(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		w.Connected("web-1", 1)
		_ = w.Put("web-1", part(1), 100)
		_ = wait.For(context.Background(), time.Hour)
		reader := fleet.Reader{Store: w.store, Layout: w.layout, Hub: hub{w.Table, nil}}
		seen := func() fleet.Line {
			roster, err := reader.Roster(context.Background(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			r := fleet.Examine(roster, fleet.Live{Key: "hosts", Exists: true}, fleet.Options{})
			return slices.Concat(r.Stragglers, r.NoContact)[0]
		}
		if l := seen(); l.Outcome == outcome.NoContact || l.LastSeen > fleet.Millis(time.Second) {
			t.Errorf("connected: %+v", l)
		}
		w.Connected("web-1", -1)
		_ = wait.For(context.Background(), 60*time.Second)
		if l := seen(); l.Outcome == outcome.NoContact {
			t.Errorf("after 60 s: %+v", l)
		}
		_ = wait.For(context.Background(), 15*time.Second)
		if l := seen(); l.Outcome != outcome.NoContact {
			t.Errorf("after 75 s: %+v", l)
		}
		scan, err := fleet.NewScanner(w.store, w.layout, hub{w.Table, nil}, time.Hour).Scan(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := (fleet.Metrics{PerNode: true, Last: scan}).Write(&text, time.Now()); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{`nodes{key="hosts",outcome="no_contact"} 1`, `node_outcome{key="hosts",node="web-1",outcome="no_contact"} 1`} {
			if !strings.Contains(text.String(), "\nkvexpress_fleet_"+line+"\n") {
				t.Errorf("the metrics do not say %s", line)
			}
		}
		reader = fleet.Reader{Store: w.store, Layout: w.layout}
		if l := seen(); l.Outcome == outcome.NoContact {
			t.Errorf("without a hub: %+v", l)
		}
	})
}
