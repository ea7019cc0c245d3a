package agent

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/agentfile"
	"kvexpress/internal/deliver"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/local"
)

// day is a store in the process, for days that pass in a moment.
type day struct {
	*local.Store
	down    atomic.Bool
	waiting atomic.Int64 // watches that are under way
	most    atomic.Int64 // of them at once
}

func (d *day) Addr() string { return "here" }

func (d *day) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	if d.down.Load() {
		return kv.Entry{}, unreachable()
	}
	defer d.waiting.Add(-1)
	now := d.waiting.Add(1)
	for most := d.most.Load(); now > most && !d.most.CompareAndSwap(most, now); most = d.most.Load() {
	}
	return d.Store.Watch(ctx, path, since, wait)
}

func (d *day) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if d.down.Load() {
		return nil, unreachable()
	}
	return d.Store.Read(ctx, c, paths...)
}

// site is a node with an agent on a store in the process.
type site struct {
	t      *testing.T
	dir    string
	store  *day
	layout kv.Layout
	agent  *Agent
	end    func()
}

// newSite makes one in a bubble, with targets k0, k1 … whose content is "one". The
// folder comes from outside: a bubble has to end before its clean-up.
func newSite(t *testing.T, dir string, targets int, every time.Duration) *site {
	t.Helper()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, store: &day{Store: local.New()}, layout: layout}
	c := agentfile.Config{Layout: layout, Node: "web-17", StateDir: filepath.Join(dir, "state"), Reconcile: every}
	for i := range targets {
		key := kv.Key(fmt.Sprint("k", i))
		c.Targets = append(c.Targets, agentfile.Target{Target: deliver.Target{Key: key, File: filepath.Join(dir, string(key))}})
		s.send(key, "one\n")
	}
	s.agent, err = New(Options{
		Config: c, Host: "web-17", Log: slog.New(slog.DiscardHandler),
		Open: func(agentfile.Store) ([]Store, error) { return []Store{s.store}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.agent.Run(ctx) }()
	s.end = func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return s
}

func (s *site) send(key kv.Key, content string) {
	s.t.Helper()
	p := publish.Publisher{Store: s.store.Store, Layout: s.layout, By: "test"}
	if _, err := p.Publish(s.t.Context(), publish.Request{Key: key, Content: []byte(content)}); err != nil {
		s.t.Fatal(err)
	}
}

// all expects all targets in a state, with content in place.
func (s *site) all(state State, content string) {
	s.t.Helper()
	for _, target := range s.agent.Status().Targets {
		got, err := os.ReadFile(target.File)
		if target.State != state || err != nil || string(got) != content {
			s.t.Errorf("%s: %s, %q, %v", target.Key, target.State, got, err)
		}
	}
}

// What a node costs its store while nothing happens, over a day; that it leaves
// nothing behind; and that a day without the store is none without the files.
func TestADay(t *testing.T) {
	t.Parallel()
	const targets, every = 5, 5 * time.Minute
	hours := 6
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		hours = 24
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dir, targets, every)
		pass(time.Minute)
		s.all(Current, "one\n")

		// One watch a minute, one look in five minutes.
		before := s.agent.Status()
		pass(time.Duration(hours) * time.Hour)
		after := s.agent.Status()
		due := uint64(targets * hours * 60 * 6 / 5)
		if got := after.Requests - before.Requests; got > due+targets || got < due*9/10 {
			t.Errorf("%d requests in a day, want about %d", got, due)
		}
		s.all(Current, "one\n")

		// A day without the store.
		s.store.down.Store(true)
		pass(2 * time.Minute) // until all watches have ended
		for i := range targets {
			s.send(kv.Key(fmt.Sprint("k", i)), "two\n")
		}
		before = s.agent.Status()
		pass(time.Duration(hours) * time.Hour)
		after = s.agent.Status()
		if got := after.Requests - before.Requests; got > uint64(hours*3600/5) {
			t.Errorf("%d requests in a day without the store", got)
		}
		s.all(Away, "one\n")
		if s := after.Store; s.Up || s.Since == nil || time.Since(*s.Since) < time.Duration(hours)*time.Hour {
			t.Errorf("%+v", s)
		}
		s.store.down.Store(false)
		pass(time.Minute)
		s.all(Current, "two\n")

		// A store that comes and goes.
		for i := range 200 {
			s.store.down.Store(i%2 == 0)
			pass(rand.N(20 * time.Second))
		}
		s.store.down.Store(false)
		s.send("k0", "three\n")
		pass(time.Minute)
		s.send("k0", "two\n")
		pass(time.Second)
		s.all(Current, "two\n")
		if err := s.agent.Healthy(); err != nil {
			t.Error(err)
		}
		s.end()
	})
}

// More targets than a node may have connections take turns.
func TestCrowded(t *testing.T) {
	t.Parallel()
	const targets = 2*maxWatches + 10
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dir, targets, time.Hour)
		pass(time.Minute)
		s.all(Current, "one\n")
		for i := range targets {
			s.send(kv.Key(fmt.Sprint("k", i)), "two\n")
		}
		pass(3*turnTime + time.Second) // a turn of their own for all
		s.all(Current, "two\n")
		if most := s.store.most.Load(); most != maxWatches {
			t.Errorf("%d watches at once, want %d", most, maxWatches)
		}
		s.end()
	})
}
