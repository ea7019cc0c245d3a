package fanout_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/testutil/memnet"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// world is a Fanout over a feed that the test sets.
type world struct {
	*fanout.Fanout
	layout kv.Layout

	mu     sync.Mutex
	now    map[kv.Key]*feed.Snapshot
	used   map[kv.Key]int
	reads  int
	down   error
	denied map[string]bool // paths
	token  string          // the only one that is known; "": all

	connected map[string]int
	taken     int           // receipts
	reading   chan struct{} // reads wait until it is closed; may be nil
	checking  chan struct{} // checks of rights wait until it is closed; may be nil
}

func newWorld(t *testing.T, set ...func(*fanout.Options)) *world {
	w := &world{now: map[kv.Key]*feed.Snapshot{}, used: map[kv.Key]int{}, denied: map[string]bool{}, connected: map[string]int{}}
	w.layout, _ = kv.NewLayout("kvexpress")
	o := fanout.Options{Feed: w, Layout: w.layout, Rights: w, Receipts: w, Name: "hub-1", MaxAgents: 100,
		Datacenter: "dc1", Log: slog.New(slog.DiscardHandler)}
	for _, f := range set {
		f(&o)
	}
	w.Fanout = fanout.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

func (w *world) Use(k kv.Key)     { w.mu.Lock(); w.used[k]++; w.mu.Unlock() }
func (w *world) Release(k kv.Key) { w.mu.Lock(); w.used[k]--; w.mu.Unlock() }

func (w *world) Connected(node string, by int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.connected[node] += by
}

func (w *world) Put(string, fleet.Part, int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken++
	return nil
}

func (w *world) Latest(k kv.Key) *feed.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now[k]
}

func (w *world) Age() time.Duration { return 0 }

func (w *world) Confirm(_ context.Context, k kv.Key, _ kv.Consistency, _ bool) (*feed.Snapshot, error) {
	w.mu.Lock()
	reading := w.reading
	w.reads++
	w.mu.Unlock()
	if reading != nil {
		<-reading
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return nil, w.down
	}
	s := *w.now[k]
	s.Began = time.Now()
	w.now[k] = &s
	return &s, nil
}

func (w *world) Denied(_ context.Context, token string, reads, writes []string) (denied []string, err error) {
	w.mu.Lock()
	checking := w.checking
	w.mu.Unlock()
	if checking != nil {
		<-checking
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.token != "" && token != w.token {
		return nil, kv.ErrDenied
	}
	for _, path := range slices.Concat(reads, writes) {
		if w.denied[path] {
			denied = append(denied, path)
		}
	}
	return denied, w.down
}

// publish sets a key and tells the agents. locked are files that are locked on the host web-1.
func (w *world) publish(k kv.Key, text string, locked ...string) {
	sum := record.Checksum([]byte(text))
	s := &feed.Snapshot{Key: k, Began: time.Now(), Live: record.Live{Key: k, SHA256: sum}, Locks: kv.Snapshot{}, Rows: kv.Snapshot{
		w.layout.Data(k):     {State: kv.Present, Value: []byte(text), Index: 1},
		w.layout.Checksum(k): {State: kv.Present, Value: []byte(sum), Index: 1},
	}}
	var paths []string
	for _, file := range locked {
		path := w.layout.Lock(file, "web-1")
		s.Locks[path] = kv.Entry{State: kv.Present, Value: []byte("maintenance"), Index: 2}
		paths = append(paths, path)
	}
	w.mu.Lock()
	w.now[k] = s
	w.mu.Unlock()
	w.Changed(feed.Update{Keys: []kv.Key{k}, Locks: paths})
}

// client is an agent.
type client struct {
	t    *testing.T
	pair *memnet.Pair
	done chan error // result of Serve

	writing sync.Mutex
}

func (w *world) connect(t *testing.T) *client {
	c := &client{t: t, pair: memnet.New(nil), done: make(chan error, 1)}
	go func() { c.done <- w.Serve(context.Background(), c.pair.Hub) }()
	t.Cleanup(c.pair.Cut)
	return c
}

func (c *client) send(m wire.FromAgent) {
	c.t.Helper()
	b, err := wire.Encode(m)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) write(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.pair.Agent.Write(context.Background(), b)
}

func hello(targets ...wire.Target) wire.FromAgent {
	return wire.FromAgent{Hello: &wire.Hello{Node: "web-1", Host: "web-1", Prefix: "kvexpress", Token: "secret", Targets: targets}}
}

func target(key, sha string) wire.Target {
	return wire.Target{Key: key, Files: []string{"/etc/" + key}, SHA256: sha}
}

// next is the next message, a minute at most.
func (c *client) next() wire.FromHub {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := c.pair.Agent.Read(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	m, err := wire.DecodeFromHub(b)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// snapshot skips other messages.
func (c *client) snapshot() *wire.Snapshot {
	c.t.Helper()
	for {
		if m := c.next(); m.Snapshot != nil {
			return m.Snapshot
		}
	}
}

func dataOf(s *wire.Snapshot) string {
	for _, r := range s.Rows {
		if r.Name == wire.DataRow {
			return string(r.Value)
		}
	}
	return ""
}

func TestPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "one")
		w.publish("other", "x")
		c := w.connect(t)
		c.send(hello(target("hosts", record.Checksum([]byte("one")))))
		if m := c.next(); m.Welcome == nil || m.Welcome.Hub != "hub-1" || m.Welcome.Agents != 1 {
			t.Fatalf("got %+v", m)
		}
		if s := c.snapshot(); s.Key != "hosts" || dataOf(s) != "" || len(s.Rows) != 1 {
			t.Errorf("the agent has the data, and got %+v", s)
		}
		w.publish("other", "y")
		w.publish("hosts", "two")
		if s := c.snapshot(); dataOf(s) != "two" {
			t.Errorf("got %+v", s)
		}
		// A lock of another node does not count here; its own comes with the snapshot.
		w.publish("hosts", "two", "/etc/hosts")
		if s := c.snapshot(); dataOf(s) != "" || len(s.Locks) != 1 || s.Locks[0].Name != "/etc/hosts" {
			t.Errorf("got %+v", s)
		}
		c.send(wire.FromAgent{Confirm: &wire.Confirm{ID: 5, Key: "hosts", Data: true}})
		if s := c.snapshot(); s.ID != 5 || dataOf(s) != "two" || len(s.Locks) != 1 {
			t.Errorf("got %+v", s)
		}
		c.pair.Cut()
		if err := <-c.done; err == nil {
			t.Error("Serve ended without an error")
		}
		if w.used["hosts"] != 0 {
			t.Errorf("the key is in use %d times", w.used["hosts"])
		}
	})
}

// An agent that does not read costs one snapshot of each key, and is disconnected.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.publish("hosts", "0")
		c := w.connect(t)
		c.send(hello(target("hosts", "")))
		synctest.Wait()
		for i := range 1000 {
			w.publish("hosts", "text "+strings.Repeat("x", i))
			synctest.Wait()
		}
		n, last := 0, ""
		for len(last) < 1004 {
			last = dataOf(c.snapshot())
			n++
		}
		if n > 30 {
			t.Errorf("it got %d snapshots", n)
		}
		for range 100 { // never reads again
			w.publish("hosts", "end")
			synctest.Wait()
			w.publish("hosts", "end2")
			synctest.Wait()
		}
		_ = wait.For(context.Background(), time.Minute)
		if c := w.Counts(); c.Slow != 1 || c.Agents != 0 {
			t.Errorf("got %+v", c)
		}
		<-c.done
	})
}
