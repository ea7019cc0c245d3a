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

	"kvexpress/internal/config"
	"kvexpress/internal/embedded"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/publish"
)

// day is a store in the process, for days that pass in a moment.
type day struct {
	*embedded.Store
	down    atomic.Bool
	waiting atomic.Int64 // watches that are under way
	most    atomic.Int64 // of them at once
	counted atomic.Int64 // as Consul counts: until the wait is over, also if the client has left
	highest atomic.Int64 // of that
}

func (d *day) Addr() string { return "here" }

func (d *day) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	if d.down.Load() {
		return kv.Entry{}, unreachable()
	}
	defer d.waiting.Add(-1)
	raise(&d.most, d.waiting.Add(1))
	began := time.Now()
	raise(&d.highest, d.counted.Add(1))
	entry, err := d.Store.Watch(ctx, path, since, wait)
	if since != 0 && ctx.Err() != nil {
		time.AfterFunc(time.Until(began.Add(wait+wait/16)), func() { d.counted.Add(-1) })
	} else {
		d.counted.Add(-1)
	}
	return entry, err
}

func raise(most *atomic.Int64, now int64) {
	for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
	}
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
	config config.Config
	hubs   func(config.Config) (Uplink, error)
	token  atomic.Value // string
	log    *slog.Logger
	agent  *Agent
	end    func()
}

// newSite makes one in a bubble, with targets k0, k1 … whose content is "one". The
// folder comes from outside: a bubble has to end before its clean-up.
func newSite(t *testing.T, dir string, targets int, every time.Duration) *site {
	t.Helper()
	s := restingSite(t, dir, targets, every)
	s.begin()
	return s
}

// restingSite is a site whose agent has not begun.
func restingSite(t *testing.T, dir string, targets int, every time.Duration) *site {
	t.Helper()
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, store: &day{Store: embedded.New()}, layout: layout, log: slog.New(slog.DiscardHandler)}
	c := config.Config{Layout: layout, Node: "web-17", StateDir: filepath.Join(dir, "state"), Reconcile: every}
	for i := range targets {
		key := kv.Key(fmt.Sprint("k", i))
		c.Targets = append(c.Targets, config.Target{Target: install.Target{Key: key, File: filepath.Join(dir, string(key))}})
		s.send(key, "one\n")
	}
	s.config = c
	return s
}

// begin runs an agent.
func (s *site) begin() {
	s.t.Helper()
	var err error
	s.agent, err = New(Options{
		Config: s.config, Host: "web-17", Log: s.log, Hubs: s.hubs,
		Open: func(config.Store) ([]Store, error) { return []Store{s.store}, nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	a := s.agent
	go func() { ended <- a.Run(ctx) }()
	s.end = func() {
		s.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
}

func (s *site) send(key kv.Key, content string) {
	s.t.Helper()
	p := publish.Publisher{Store: s.store.Store, Layout: s.layout, By: "test"}
	if _, err := p.Publish(s.t.Context(), publish.Request{Key: key, Content: []byte(content), IgnoreStop: true}); err != nil {
		s.t.Fatal(err)
	}
}

// set writes a row; "" removes it.
func (s *site) set(path, value string) {
	s.t.Helper()
	op := kv.Op{Verb: kv.Set, Path: path, Value: []byte(value)}
	if value == "" {
		op.Verb = kv.Delete
	}
	if _, err := s.store.Commit(s.t.Context(), []kv.Op{op}); err != nil {
		s.t.Fatal(err)
	}
}

// all expects all targets in a state, with content in place.
func (s *site) all(state outcome.Outcome, content string) {
	s.t.Helper()
	for _, target := range s.agent.Status().Targets {
		got, err := os.ReadFile(target.File)
		if target.Outcome != state || err != nil || string(got) != content {
			s.t.Errorf("%s: %s, %q, %v", target.Key, target.Outcome, got, err)
		}
	}
}

// An idle node makes few requests in a day, and leaves nothing behind. A day without the store
// leaves the files in place.
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
		s.all(outcome.Converged, "one\n")

		// One watch a minute, one reconcile in five minutes.
		before := s.agent.Status()
		pass(time.Duration(hours) * time.Hour)
		after := s.agent.Status()
		due := uint64(targets * hours * 60 * 6 / 5)
		if got := after.Requests - before.Requests; got > due+targets || got < due*9/10 {
			t.Errorf("%d requests in a day, want about %d", got, due)
		}
		s.all(outcome.Converged, "one\n")

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
		s.all(outcome.Unreachable, "one\n")
		if s := after.Store; s.Up || s.Since == nil || time.Since(*s.Since) < time.Duration(hours)*time.Hour {
			t.Errorf("%+v", s)
		}
		s.store.down.Store(false)
		pass(time.Minute)
		s.all(outcome.Converged, "two\n")

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
		s.all(outcome.Converged, "two\n")
		if err := s.agent.Healthy(); err != nil {
			t.Error(err)
		}
		s.end()
	})
}

// Of many targets the first are watched, and the others polled: with few requests, and all become right.
func TestPolled(t *testing.T) {
	t.Parallel()
	const targets = maxWatched + 2*kv.MaxOps
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, dir, targets, time.Hour)
		pass(2 * time.Minute)
		s.all(outcome.Converged, "one\n")
		for i, target := range s.agent.Status().Targets {
			if target.Polled != (i >= maxWatched) {
				t.Errorf("target %d: polled is %v", i, target.Polled)
			}
		}
		before := s.agent.Status().Requests
		pass(time.Minute)
		// Two transactions in five seconds, and a watch a minute for each of the others.
		if got, most := s.agent.Status().Requests-before, uint64(maxWatched+2*14+10); got > most {
			t.Errorf("%d requests in a minute at rest, want %d at most", got, most)
		}
		for i := range targets {
			s.send(kv.Key(fmt.Sprint("k", i)), "two\n")
		}
		pass(6 * time.Second)
		s.all(outcome.Converged, "two\n")
		// A frozen target polls the row that freezes it.
		key, last := kv.Key(fmt.Sprint("k", targets-1)), targets-1
		s.set(s.layout.Stop(key), "bad")
		s.send(key, "three\n")
		pass(6 * time.Second)
		if got := s.agent.Status().Targets[last].Outcome; got != outcome.Stopped {
			t.Errorf("a stopped one is %s", got)
		}
		reconciles := s.agent.Status().Targets[last].Counts.Reconciles
		pass(time.Minute)
		if got := s.agent.Status().Targets[last].Counts.Reconciles; got != reconciles {
			t.Errorf("%d reconciles over one that is stopped", got-reconciles)
		}
		s.set(s.layout.Stop(key), "")
		pass(6 * time.Second)
		if got, err := os.ReadFile(filepath.Join(dir, string(key))); err != nil || string(got) != "three\n" {
			t.Errorf("after the stop it holds %q, %v", got, err)
		}
		if most := s.store.most.Load(); most > maxWatched {
			t.Errorf("%d watches at once, want %d at most", most, maxWatched)
		}
		s.end()
	})
}

// testLimit is how long a test waits for an event.
const testLimit = 30 * time.Second

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.After(testLimit); !ok(); {
		select {
		case <-end:
			t.Fatal("it did not happen")
		case <-time.After(5 * time.Millisecond):
		}
	}
}
