package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/embedded"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// testTarget is a target of a node with one store.
func testTarget(s Store, t install.Target) *target {
	layout, err := kv.NewLayout("kvexpress")
	if err != nil {
		panic(err)
	}
	source := newTestSource(s)
	n := &node{name: "web-1", layout: layout, every: time.Minute, source: source, limits: install.NewLimits(), pace: patience,
		news: make(chan struct{}, 1), installer: &install.Installer{Store: source, Layout: layout}}
	if t.Key == "" {
		t.Key = "hosts"
	}
	return newTarget(config.Target{Target: t}, n, nil, slog.New(slog.DiscardHandler))
}

// While the store is unreachable, a due reconcile is not retried in a busy loop.
func TestNothingIsDueWhileTheStoreIsUnreachable(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*target, time.Time){
		"periodic":           func(t *target, at time.Time) { t.periodic = at },
		"a retry":            func(t *target, at time.Time) { t.retry = at },
		"the end of a lock":  func(t *target, at time.Time) { t.has.frozen = &install.Frozen{Path: "lock", Until: at} },
		"the end of a delay": func(t *target, at time.Time) { t.holdOff = at },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &faulty{answer: func(context.Context) error { return unreachable() }}
				r := testTarget(f, install.Target{})
				w := r.sub.(*watch)
				r.periodic = time.Now().Add(time.Hour)
				_, _ = w.Watch(t.Context(), "p", 0, time.Minute)
				ctx, cancel := context.WithCancel(t.Context())
				defer func() { cancel(); <-w.answers }()
				w.ask(ctx, question{path: w.data, since: 7, delay: time.Hour}, position{})
				set(r, time.Now().Add(time.Second))
				if rest := time.Until(r.due()); rest != time.Second {
					t.Fatalf("it is due in %s", rest)
				}
				pass(time.Second)
				r.dueNow(ctx)
				if w.since != 0 {
					t.Error("its watch would not be answered when the store is reachable again")
				}
				if rest := time.Until(r.due()); rest < time.Minute {
					t.Errorf("it is due again in %s", rest)
				}
				if r.status.Outcome != outcome.Unreachable {
					t.Errorf("it is %s", r.status.Outcome)
				}
			})
		})
	}
}

// The answer of a watch decides the next question.
func TestIndexes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		index, want uint64
		quiet       bool
		err         error
		reconciles  uint64
	}{
		{"a change", 9, 9, false, nil, 1},
		{"nothing happened", 7, 7, true, nil, 0},
		{"woken without a change", 7, 0, false, nil, 1},
		{"the indexes began anew", 3, 0, false, nil, 1},
		{"denied", 0, 0, false, &kv.StoreError{Kind: kv.ErrDenied}, 0},
		{"unreachable", 0, 0, false, unreachable(), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				r := testTarget(&day{Store: embedded.New()}, install.Target{File: filepath.Join(dir, "hosts")})
				r.installer.StateDir = filepath.Join(dir, "state")
				w := r.sub.(*watch)
				ctx, cancel := context.WithCancel(t.Context())
				w.question = question{path: w.data, since: 7}
				s := snapshotOf(w.data, kv.Entry{State: kv.Absent, Index: test.index}, test.err)
				s.Quiet = test.quiet
				r.updated(ctx, &s)
				if w.path != w.data || w.since != test.want || r.status.Counts.Reconciles != test.reconciles {
					t.Errorf("it asks for %s since %d, after %d reconciles", w.path, w.since, r.status.Counts.Reconciles)
				}
				cancel()
				<-w.answers
			})
		})
	}
}

// A reconcile that takes longer than all of its limits is stuck: the agent has to be restarted.
func TestStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &target{}
		r.File, r.CheckTimeout, r.ExecTimeout = "/etc/hosts", 10*time.Minute, 20*time.Minute
		a := &Agent{running: []*target{{}, r}}
		r.begun.Store(time.Now().UnixNano())
		pass(50 * time.Minute)
		if err := a.Healthy(); err != nil {
			t.Errorf("commands may take so long: %v", err)
		}
		pass(5 * time.Minute)
		if err := a.Healthy(); err == nil || !strings.Contains(err.Error(), "/etc/hosts") || strings.Contains(err.Error(), "\n") {
			t.Errorf("it is healthy: %v", err)
		}
		r.begun.Store(0)
		if err := a.Healthy(); err != nil {
			t.Error(err)
		}
	})
}

func TestBucket(t *testing.T) {
	t.Parallel()
	b := newReturns()
	now := time.Now()
	for i := range b.burst - 1 {
		if wait := b.take(now); wait != 0 {
			t.Errorf("return %d waits for %s", i, wait)
		}
	}
	// From then on, no more than four a second, however fast they come.
	returns, end := 0, now.Add(time.Minute)
	for now.Before(end) && returns < 1000 {
		wait := b.take(now)
		if wait > 4*b.refill {
			t.Fatalf("it waits for %s", wait)
		}
		now = now.Add(wait)
		returns++
	}
	if most := int(time.Minute/b.refill) + 2; returns > most || returns < most/2 {
		t.Errorf("%d returns in a minute", returns)
	}
	now = now.Add(time.Hour)
	if wait := b.take(now); wait != 0 {
		t.Errorf("after an hour it waits for %s", wait)
	}
}

// A target that came while a group waited does not prolong the next wait.
func TestGather(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(nil, 0, patience, nil)
		all := []*target{{}, {}, {}, {}}
		for _, r := range all[:3] {
			g.add(r)
			g.add(r)
		}
		<-g.wake
		go func() { pass(debounce / 2); g.add(all[3]) }()
		all[1].ended.Store(true)
		began := time.Now()
		if got := g.gather(t.Context()); !slices.Equal(got, []*target{all[0], all[2], all[3]}) {
			t.Errorf("it gathers %d", len(got))
		}
		if took := time.Since(began); took != debounce/2+debounce {
			t.Errorf("it takes %s", took)
		}
		if len(g.wake) != 0 || len(g.pending) != 0 {
			t.Error("there is more to do")
		}
		// A target that changes all the time does not hold up the others for ever.
		ctx, cancel := context.WithCancel(t.Context())
		var endless sync.WaitGroup
		endless.Go(func() {
			for ctx.Err() == nil {
				g.add(all[0])
				pass(debounce / 2)
			}
		})
		began = time.Now()
		g.add(all[2])
		g.gather(ctx)
		if took := time.Since(began); took != debounceMost {
			t.Errorf("it takes %s", took)
		}
		cancel()
		endless.Wait()
	})
}

// A version waits only once, even if it could not be installed after its wait.
func TestPostpone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := testTarget(nowhere{}, install.Target{})
		r.Spread = time.Hour
		if r.postpone("a") {
			t.Error("the first one waits")
		}
		r.status.SHA256 = "a"
		if !r.postpone("b") || !r.postpone("c") {
			t.Error("a new one does not wait")
		}
		if rest := time.Until(r.due()); rest != r.delay() {
			t.Errorf("it waits for %s, want %s", rest, r.delay())
		}
		pass(r.delay())
		if r.postpone("c") {
			t.Error("its time is over, and it waits")
		}
		r.holdOff = time.Time{} // as a failed reconcile leaves it
		if r.postpone("c") {
			t.Error("it waits once more")
		}
		if !r.postpone("d") {
			t.Error("a newer one does not wait")
		}
	})
}
