package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

// A denied receipt is never taken for absent.
func TestRosterRights(t *testing.T) {
	under := func(prefix string) func(string, bool) bool {
		return func(path string, write bool) bool { return !write && strings.HasPrefix(path, prefix) }
	}
	for name, tt := range map[string]struct {
		deny   func(string, bool) bool
		nodes  int
		denied bool
	}{
		"all":                      {under("nothing"), 3, false},
		"all, and there are none":  {under("nothing"), 0, false},
		"none":                     {under("kvexpress-nodes/"), 3, true},
		"none, and there are none": {under("kvexpress-nodes/"), 0, true},
		"all but one":              {under("kvexpress-nodes/web-1"), 3, true},
		"one alone, as a node has it": {func(path string, write bool) bool {
			return under("kvexpress-nodes/")(path, write) && path != "kvexpress-nodes/web-1"
		}, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, hidden := range []bool{false, true} { // Consul does not tell an anonymous token
				b := newBench(t, embedded.Deny(tt.deny))
				b.publish("one\n")
				for i := range tt.nodes {
					b.put("kvexpress-nodes/web-"+string(rune('0'+i)), "{}")
				}
				if hidden && name == "all but one" {
					continue // nothing shows it
				}
				reader := b.reader()
				if hidden {
					reader.Store = &hiding{b.store}
				}
				r, err := reader.Roster(t.Context(), 0, 0)
				if errors.Is(err, kv.ErrDenied) != tt.denied || err == nil && len(r.Nodes) != tt.nodes {
					t.Errorf("hidden %t: %v, %d nodes", hidden, err, len(r.Nodes))
				}
				if tt.denied && !strings.Contains(err.Error(), "kvexpress-nodes/") {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// hiding leaves rows out, and does not report it.
type hiding struct{ kv.Store }

func (s *hiding) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing,
	error) {
	all, err := s.Store.List(ctx, c, prefix, since, wait)
	all.Filtered = false
	return all, err
}

// Only changed receipts are decoded again.
func TestRosterAgainAndAgain(t *testing.T) {
	b := newBench(t)
	b.publish("one\n")
	b.fleet(3, b.want)
	b.put("kvexpress-nodes/web-x", "{}")
	reader := b.reader()
	read := func(since uint64) (fleet.Roster, int64) {
		t.Helper()
		b.store.requests()
		r, err := reader.Roster(t.Context(), since, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return r, b.store.requests()
	}
	first, requests := read(0)
	if len(first.Nodes) != 4 || first.Nodes[3].Err == nil || first.Nodes[0].Name != "web-0" || first.Nodes[0].Err != nil ||
		requests != 2 {
		t.Fatalf("%+v, %d requests", first, requests)
	}
	b.says("web-1", fleet.Wanted{Version: 7})
	b.says("web-x", b.want)
	second, requests := read(first.Index)
	if requests != 1 {
		t.Errorf("%d requests", requests)
	}
	for i, n := range second.Nodes {
		if changed := i%2 == 1; changed != (n.Index != first.Nodes[i].Index) || n.Err != nil {
			t.Errorf("%+v", n)
		}
		// The same memory: it was not parsed again.
		if same := first.Nodes[i].Err == nil && &n.Receipt.Targets[0] == &first.Nodes[i].Receipt.Targets[0]; same != (i%2 == 0) {
			t.Errorf("%s: parsed anew is %t", n.Name, !same)
		}
	}
	if second.Nodes[1].Receipt.Targets[0].Version != 7 {
		t.Errorf("%+v", second.Nodes[1])
	}
	forget(t, b.store, newLayout(t).Node("web-1"))
	if third, _ := read(second.Index); len(third.Nodes) != 3 {
		t.Errorf("%+v", third)
	}
}

// More keys than one request can read: each has its own result.
func TestLive(t *testing.T) {
	b := newBench(t, embedded.Deny(func(path string, write bool) bool { return !write && strings.HasPrefix(path, "kvexpress/k30/") }))
	b.publish("one\n")
	b.put("kvexpress/k40/checksum", strings.Repeat("a", 64)) // as 1.x writes it
	b.put("kvexpress/k50/manifest", `{"format":99}`)
	b.put("kvexpress/k50/checksum", strings.Repeat("a", 64))
	keys := []kv.Key{"hosts"}
	for i := range 60 {
		keys = append(keys, kv.Key("k"+string(rune('0'+i/10))+string(rune('0'+i%10))))
	}
	all, err := b.reader().Live(t.Context(), fleet.Roster{}, keys...)
	if err != nil || len(all) != len(keys) {
		t.Fatalf("%v, %d of %d", err, len(all), len(keys))
	}
	for _, s := range all {
		switch s.Key {
		case "hosts":
			if !s.Exists || s.Wanted().Version != 1 || s.Index == 0 || s.Err != nil || s.SHA256 != b.want.SHA256 {
				t.Errorf("%+v", s)
			}
		case "k30":
			if !errors.Is(s.Err, kv.ErrDenied) {
				t.Errorf("%+v", s)
			}
		case "k40":
			if !s.Exists || s.Wanted().Version != 0 || s.Index == 0 || s.Err != nil {
				t.Errorf("%+v", s)
			}
		case "k50":
			if s.Err == nil {
				t.Errorf("%+v", s)
			}
		default:
			if s.Exists || s.Err != nil {
				t.Errorf("%+v", s)
			}
		}
	}
}

// Names and texts of receipts are cut when they are read. A receipt with an invalid node name is
// not read, and does no harm to others.
func TestLongNames(t *testing.T) {
	b := newBench(t)
	b.publish("one\n")
	b.fleet(1, b.want)
	long := strings.Repeat("x", 60_000)
	b.put("kvexpress-nodes/"+long[:5000], "{}")
	b.put("kvexpress-nodes/web-7", `{"format":1,"node":"web-7","sent":"2026-01-01T00:00:00Z","targets":[{"by":"out","key":"hosts",`+
		`"file":"/f","outcome":"`+long[:8000]+`","detail":"`+long[:8000]+`","lineage":"`+long[:8000]+`","sha256":"`+long[:8000]+`"}]}`)
	b.put("kvexpress-nodes/web-8", `{"format":1,"node":"web-8","targets":[{"since_ms":`+strings.Repeat("1", 60_000)+`}]}`)
	r, err := b.reader().Roster(t.Context(), 0, 0)
	if err != nil || len(r.Nodes) != 4 {
		t.Fatalf("%d nodes, %v", len(r.Nodes), err)
	}
	for _, n := range r.Nodes {
		if text := fmt.Sprintf("%s %v %+v", n.Name, n.Err, n.Receipt); len(text) > 2500 {
			t.Errorf("a node is printed in %d bytes: %.100s", len(text), text)
		}
	}
	all, err := b.reader().Live(t.Context(), r, "hosts")
	if err != nil {
		t.Fatal(err)
	}
	if got := fleet.Examine(r, all[0], fleet.Options{}); got.Nodes != 2 || len(got.Unread) != 2 {
		t.Errorf("%d nodes count, of %d the receipts cannot be read", got.Nodes, len(got.Unread))
	}
}

// The publish times of past versions are read only if an `out` has missed one.
func TestPastVersions(t *testing.T) {
	b := newBench(t)
	for _, version := range []uint64{1, 2, 3} {
		b.publish(fmt.Sprint(version, "\n"))
		roster := fleet.Roster{Nodes: []fleet.Node{{Receipt: fleet.Receipt{Targets: []fleet.Target{
			{By: fleet.ByOut, Key: "hosts", Version: 1}, {By: fleet.ByAgent, Key: "other", Version: 1},
		}}}}}
		all, err := b.reader().Live(t.Context(), roster, "hosts")
		if err != nil {
			t.Fatal(err)
		}
		past := all[0].Past
		if version < 3 && len(past) > 0 || version == 3 && (len(past) != 2 || past[0].Version != 2 || past[0].At.Before(past[1].At) ||
			time.Since(past[1].At).Abs() > time.Minute) {
			t.Errorf("version %d: %+v", version, past)
		}
	}
}
