package rollouts_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
	"kvexpress/internal/testutil/memnet"
)

var layout, _ = kv.NewLayout("kvexpress")

const hosts kv.Key = "hosts"

// world is a store with hubs and nodes, in a bubble.
type world struct {
	*testing.T
	store *embedded.Store
	hubs  []*hub
	nodes map[string]*node
}

// hub is a hub that can be killed, and cut off from the others.
type hub struct {
	*rollouts.Rollouts
	feed  *feed.Feed
	fan   *fanout.Fanout
	stop  func()
	alone atomic.Bool // other hubs cannot ask it
	slow  atomic.Bool // it takes long from a reading to its snapshot

	mu    sync.Mutex
	pairs []*memnet.Pair
}

func within(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, store: embedded.New(), nodes: map[string]*node{}}
		defer func() {
			for _, h := range w.hubs {
				h.stop()
			}
			for _, n := range w.nodes {
				n.leave()
			}
		}()
		w.commit(append(version(t, 1, "one"), kv.Op{Verb: kv.Set, Path: layout.RolloutsDir() + ".keep"})...)
		test(w)
	})
}

// hub begins a hub. It asks the hubs that are begun already, and they ask it.
func (w *world) hub(set ...func(*rollouts.Options)) *hub {
	h, me := &hub{}, len(w.hubs)
	log := slog.New(slog.DiscardHandler)
	o := rollouts.Options{Store: w.store, Layout: layout, Hub: fmt.Sprintf("hub-%d", me), Log: log}
	for i := range 3 {
		if i != me {
			o.Peers = append(o.Peers, rollouts.Peer{Addr: fmt.Sprint(i), Post: func(ctx context.Context, body []byte) ([]byte, error) {
				if i >= len(w.hubs) || w.hubs[i].alone.Load() || h.alone.Load() {
					return nil, errors.New("no answer")
				}
				return w.hubs[i].Answer(ctx, body)
			}})
		}
	}
	for _, f := range set {
		f(&o)
	}
	h.Rollouts = rollouts.New(o)
	f := feed.New(feed.Options{Store: w.store, Layout: layout, Log: log, Rollouts: func(all kv.Snapshot) {
		h.Rows(all)
		if h.slow.Load() {
			pass(50 * time.Millisecond)
		}
	}, Changed: func(u feed.Update) {
		h.Changed(u)
		h.fan.Changed(u)
	}})
	h.fan = fanout.New(fanout.Options{Feed: f, Layout: layout, MaxAgents: 1000, Log: log, Rollouts: h.Rollouts,
		Receipts: receipts.New(receipts.Options{Store: w.store, Layout: layout, Hub: o.Hub, Log: log})})
	h.feed = f
	h.Attach(f, h.fan)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, work := range []func(context.Context){f.Run, h.fan.Run, h.Run} {
		all.Go(func() { work(ctx) })
	}
	h.stop = sync.OnceFunc(func() {
		h.mu.Lock()
		for _, p := range h.pairs {
			p.Cut()
		}
		h.mu.Unlock()
		cancel()
		all.Wait()
	})
	w.hubs = append(w.hubs, h)
	synctest.Wait()
	return h
}

func (w *world) commit(ops ...kv.Op) {
	w.Helper()
	if _, err := w.store.Commit(context.Background(), ops); err != nil {
		w.Fatal(err)
	}
}

func put(path, value string) kv.Op { return kv.Op{Verb: kv.Set, Path: path, Value: []byte(value)} }

func manifest(t *testing.T, n uint64, text string) string {
	m, err := kv.Manifest{Format: kv.ManifestFormat, Lineage: "0123456789abcdef0123456789abcdef", Version: n, PublishID: "p",
		Key: hosts, SHA256: record.Checksum([]byte(text)), Size: int64(len(text)), Lines: 1, Encoding: "plain", By: "test"}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(m)
}

// version makes a version current.
func version(t *testing.T, n uint64, text string) []kv.Op {
	return []kv.Op{put(layout.Data(hosts), text), put(layout.Checksum(hosts), record.Checksum([]byte(text))),
		put(layout.Manifest(hosts), manifest(t, n, text))}
}

// begin begins a rollout of version 2, as `in` does, with more at the same moment.
func (w *world) begin(id, text string, plan rollout.Plan, more ...kv.Op) {
	w.Helper()
	now := w.read(layout.Data(hosts), layout.Checksum(hosts), layout.Manifest(hosts))
	row := rollout.Row{ID: id, Key: hosts, Version: 2, SHA256: record.Checksum([]byte(text)), Plan: plan, By: "test", State: rollout.Running,
		Started: time.Now().Unix(), Base: rollout.Base{Version: 1, SHA256: string(now[layout.Checksum(hosts)].Value),
			Data: now[layout.Data(hosts)].Index, Checksum: now[layout.Checksum(hosts)].Index, Manifest: now[layout.Manifest(hosts)].Index}}
	b, err := row.Marshal()
	if err != nil {
		w.Fatal(err)
	}
	w.commit(append(more, put(layout.HistoryManifest(hosts, 2), manifest(w.T, 2, text)), put(layout.HistoryData(hosts, 2), text),
		put(layout.HistoryPending(hosts, 2), "p"), put(layout.Rollout(hosts), string(b)))...)
}

func (w *world) read(paths ...string) kv.Snapshot {
	w.Helper()
	rows, err := w.store.Read(context.Background(), kv.Consistent, paths...)
	if err != nil {
		w.Fatal(err)
	}
	return rows
}

func (w *world) row() rollout.Row {
	w.Helper()
	row, err := rollout.ParseRow(hosts, w.read(layout.Rollout(hosts))[layout.Rollout(hosts)])
	if err != nil || row == nil {
		w.Fatal("no rollout", err)
	}
	return *row
}

// change is what an operator does.
func (w *world) change(f func(rollout.Row) (rollout.Row, error)) {
	w.Helper()
	row, err := f(w.row())
	b, bad := row.Marshal()
	if err := errors.Join(err, bad); err != nil {
		w.Fatal(err)
	}
	w.commit(put(layout.Rollout(hosts), string(b)))
}

// until waits until the rollout is in a state, a minute at most.
func (w *world) until(state rollout.State, more ...func() bool) rollout.Row {
	w.Helper()
	for end := time.Now().Add(2 * time.Minute); ; pass(10 * time.Millisecond) {
		row := w.row()
		ok := row.State == state
		for _, f := range more {
			ok = f() && ok
		}
		if ok {
			return row
		}
		if time.Now().After(end) {
			w.Fatalf("the rollout is %s (%s), want %s; the nodes have %v", row.State, row.Reason, state, w.files())
		}
	}
}

// pass lets time pass in the bubble.
func pass(d time.Duration) { <-time.After(d) }

// files is what the nodes have.
func (w *world) files() map[string]string {
	synctest.Wait()
	all := map[string]string{}
	for name, n := range w.nodes {
		n.mu.Lock()
		all[name] = n.text
		n.mu.Unlock()
	}
	return all
}

// with are the nodes that have, or had, a text.
func (w *world) with(text string, ever bool) (names []string) {
	synctest.Wait()
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		n := w.nodes[name]
		n.mu.Lock()
		if n.text == text || ever && slices.Contains(n.had, text) {
			names = append(names, name)
		}
		n.mu.Unlock()
	}
	return names
}

func plan(t *testing.T, text string) (p rollout.Plan) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func names(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%02d", prefix, i))
	}
	return all
}
