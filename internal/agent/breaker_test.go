package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// faulty is a store that answers as the test says.
type faulty struct {
	Store
	requests atomic.Int64
	answer   func(ctx context.Context) error
}

func (f *faulty) Addr() string { return "faulty" }

func (f *faulty) Watch(ctx context.Context, _ string, _ uint64, _ time.Duration) (kv.Entry, error) {
	f.requests.Add(1)
	return kv.Entry{State: kv.Absent, Index: 7}, f.answer(ctx)
}

func (f *faulty) Read(ctx context.Context, _ kv.Consistency, _ ...string) (kv.Snapshot, error) {
	f.requests.Add(1)
	return kv.Snapshot{}, f.answer(ctx)
}

func unreachable() error { return &kv.StoreError{Op: "watch", Kind: kv.ErrUnreachable} }

func newTestSource(f ...Store) *storeSource {
	return newStoreSource(f, newWaits(), patience, slog.New(slog.DiscardHandler))
}

// pass lets time pass, in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// insist watches like that many targets, and retries after a failure.
func (s *storeSource) insist(ctx context.Context, all *sync.WaitGroup, n int) {
	for range n {
		all.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.Watch(ctx, "p", 0, time.Minute); err == nil {
					return
				}
			}
		})
	}
}

// However many targets there are, an unreachable store gets less than one request in five seconds from a node, after three
// tries in short order.
func TestBreakerIsPatient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{answer: func(context.Context) error { return unreachable() }}
		l := newTestSource(f)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		l.insist(ctx, &all, 1)
		synctest.Wait()
		l.insist(ctx, &all, 99)
		pass(4 * time.Second)
		if got := f.requests.Load(); got != 3 {
			t.Errorf("%d requests in the first seconds, want 3", got)
		}
		before := f.requests.Load()
		pass(time.Hour)
		if got := f.requests.Load() - before; got > 3600/5 || got < 3600/10-1 {
			t.Errorf("%d requests in an hour", got)
		}
		if s := l.status(); s.Up || s.Since == nil || time.Since(*s.Since) < time.Hour {
			t.Errorf("%+v", s)
		}
		cancel()
		all.Wait()
		// Reads do not even try.
		before = f.requests.Load()
		if _, err := l.Read(t.Context(), kv.Default, "p"); !errors.Is(err, kv.ErrUnreachable) || f.requests.Load() != before {
			t.Errorf("a read gives %v, after %d requests", err, f.requests.Load()-before)
		}
	})
}

// All targets ask at once at the start of a node whose store is unreachable.
func TestBreakerAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &faulty{answer: func(ctx context.Context) error { _ = wait.For(ctx, time.Second); return unreachable() }}
		l := newTestSource(f)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		l.insist(ctx, &all, 100)
		pass(1100 * time.Millisecond)
		if got := f.requests.Load(); got != 100 {
			t.Errorf("%d requests, want one of each", got)
		}
		pass(7 * time.Second) // two short pauses, three requests of a second
		if got := f.requests.Load() - 100; got > 3 {
			t.Errorf("%d requests after that", got)
		}
		cancel()
		all.Wait()
	})
}

// A probe may give up: then another target probes.
func TestBreakerWhenTheProbeGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		f := &faulty{answer: func(ctx context.Context) error {
			if hang.Load() {
				<-ctx.Done()
			}
			return unreachable()
		}}
		l := newTestSource(f)
		_, _ = l.Watch(t.Context(), "p", 0, time.Minute) // the breaker opens
		hang.Store(true)
		first, giveUp := context.WithCancel(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		l.insist(first, &all, 1)
		pass(10 * time.Second)
		l.insist(ctx, &all, 5)
		pass(time.Minute)
		if got := f.requests.Load(); got != 2 {
			t.Errorf("%d requests while one was under way", got-1)
		}
		giveUp()
		synctest.Wait()
		if got := f.requests.Load(); got != 3 {
			t.Errorf("%d requests after it gave up, want one", got-2)
		}
		cancel()
		all.Wait()
	})
}

// If a network loses a connection silently, a request from before an outage fails after the outage is over. It must not
// open the breaker again.
func TestBreakerForgivesOldConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan error, 1)
		f := &faulty{answer: func(context.Context) error { return <-answers }}
		l := newTestSource(f)
		watch := func(answer error) {
			answers <- answer
			_, _ = l.Watch(t.Context(), "p", 0, time.Minute)
		}
		watch(nil) // up
		var all sync.WaitGroup
		all.Go(func() { _, _ = l.Watch(t.Context(), "p", 0, time.Minute) })
		synctest.Wait() // it is under way
		l.report(t.Context(), ticket{turns: l.turns}, unreachable())
		if l.unreachable() == nil {
			t.Error("the breaker is closed")
		}
		pass(time.Second)
		l.report(t.Context(), ticket{turns: l.turns}, nil) // back
		answers <- unreachable()
		all.Wait()
		if err := l.unreachable(); err != nil {
			t.Errorf("the breaker is open: %v", err)
		}
		watch(unreachable())
		if l.unreachable() == nil {
			t.Error("a new failure does not count")
		}
	})
}

// An outage ends watches: a proxy may begin one anew by itself, and then the target would not learn of the outage. A watch that
// began after it is left alone.
func TestBreakerEndsOldWatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		f := &faulty{answer: func(ctx context.Context) error {
			if down.Load() {
				return unreachable()
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		l := newTestSource(f)
		old, young := make(chan error, 1), make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		watch := func(told chan error) {
			_, err := l.Watch(ctx, "p", 7, time.Minute)
			told <- err
		}
		go watch(old)
		synctest.Wait()
		down.Store(true)
		if _, err := l.Read(ctx, kv.Default, "p"); !errors.Is(err, kv.ErrUnreachable) {
			t.Fatal(err)
		}
		if err := <-old; !errors.Is(err, kv.ErrUnreachable) || !errors.Is(err, errMissed) {
			t.Errorf("the old watch ends with %v", err)
		}
		pass(time.Minute)
		down.Store(false)
		f.answer = func(context.Context) error { return nil }
		if _, err := l.Watch(ctx, "p", 0, time.Minute); err != nil { // it finds out that the store is back
			t.Fatal(err)
		}
		if l.unreachable() != nil {
			t.Error("that says nothing of the store, which is there")
		}
		f.answer = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		go watch(young)
		synctest.Wait()
		pass(time.Hour)
		if len(young) != 0 {
			t.Error("a watch that began after the outage was ended")
		}
		cancel()
		<-young
	})
}

func TestSourceTakesTheNextStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &faulty{answer: func(context.Context) error { return unreachable() }}
		b := &faulty{answer: func(context.Context) error { return nil }}
		l := newTestSource(a, b)
		var all sync.WaitGroup
		l.insist(t.Context(), &all, 10)
		all.Wait()
		if a.requests.Load() < 1 || b.requests.Load() != 10 || l.unreachable() != nil {
			t.Errorf("%d, %d, %v", a.requests.Load(), b.requests.Load(), l.unreachable())
		}
		// A denial is an answer.
		b.answer = func(context.Context) error { return &kv.StoreError{Op: "watch", Kind: kv.ErrDenied} }
		if _, err := l.Watch(t.Context(), "p", 0, time.Minute); !errors.Is(err, kv.ErrDenied) || l.unreachable() != nil {
			t.Errorf("%v, %v", err, l.unreachable())
		}
	})
}

// After a good time, an outage counts as the first one. The outages of a store that comes and goes add up.
func TestBreakerRemembersFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var err error
		f := &faulty{answer: func(context.Context) error { return err }}
		l := newTestSource(f)
		flap := func(good time.Duration) time.Duration {
			err = nil
			_, _ = l.Watch(t.Context(), "p", 0, time.Minute)
			pass(good)
			err = unreachable()
			_, _ = l.Watch(t.Context(), "p", 0, time.Minute)
			return time.Until(l.next)
		}
		for range 3 {
			if rest := flap(time.Hour); rest > time.Second {
				t.Errorf("after an hour it waits for %s", rest)
			}
		}
		flap(time.Second)
		for range 3 {
			if rest := flap(time.Second); rest < 5*time.Second {
				t.Errorf("one that flaps is asked again in %s", rest)
			}
		}
	})
}

// resting is a store without changes: a watch with the newest index waits its full time, as in Consul.
type resting struct{ faulty }

func (w *resting) Watch(ctx context.Context, path string, since uint64, most time.Duration) (kv.Entry, error) {
	if err := w.answer(ctx); err != nil {
		return kv.Entry{}, err
	}
	if since == 7 {
		_ = wait.For(ctx, most)
	}
	return w.faulty.Watch(ctx, path, since, most)
}

// One target's read finds the store unreachable. A watch of another target, with an index, fails at once then, so that the
// target learns of the outage. Its next question is answered at once: that is the probe. If the watch
// did not fail, the breaker would stay open for a minute although the store answers.
func TestBreakerProbesWithAQuestionThatIsAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		f := &resting{}
		f.answer = func(context.Context) error {
			if down {
				return unreachable()
			}
			return nil
		}
		l := newTestSource(f)
		if _, err := l.Read(t.Context(), kv.Default, "p"); !errors.Is(err, kv.ErrUnreachable) {
			t.Fatal(err)
		}
		down = false
		began := time.Now()
		if _, err := l.Watch(t.Context(), "p", 7, time.Minute); !errors.Is(err, kv.ErrUnreachable) || !time.Now().Equal(began) {
			t.Errorf("it waited for %v: %v", time.Since(began), err)
		}
		_, err := l.Watch(t.Context(), "p", 0, time.Minute)
		if took := time.Since(began); took > 2*time.Second || err != nil {
			t.Errorf("it tried for %v: %v", took, err)
		}
		if _, err := l.Read(t.Context(), kv.Default, "p"); err != nil || l.unreachable() != nil {
			t.Errorf("after that: %v, %v", err, l.unreachable())
		}
		// And when nothing is wrong, it waits.
		began = time.Now()
		if _, err := l.Watch(t.Context(), "p", 7, time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("a watch at rest lasted %v: %v", time.Since(began), err)
		}
	})
}

// A 429 is no outage: the request is retried, and waiting watches stay, even if the store refuses all requests for longer.
func TestBreakerAtTooManyRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		f := &faulty{answer: nil}
		f.answer = func(ctx context.Context) error {
			if refused > 0 {
				refused--
				return &kv.StoreError{Op: "read", Kind: kv.ErrUnreachable, Cause: kv.ErrCrowded}
			}
			return nil
		}
		l := newTestSource(&resting{faulty: faulty{answer: f.answer}})
		if _, err := l.Watch(t.Context(), "p", 0, time.Minute); err != nil {
			t.Fatal(err)
		}
		waits := make(chan error, 1)
		go func() {
			_, err := l.Watch(t.Context(), "p", 7, time.Minute)
			waits <- err
		}()
		synctest.Wait()
		refused = 2
		if _, err := l.Read(t.Context(), kv.Default, "p"); err != nil || l.unreachable() != nil {
			t.Errorf("refused twice: %v, %v", err, l.unreachable())
		}
		refused = 3
		if _, err := l.Read(t.Context(), kv.Default, "p"); !errors.Is(err, kv.ErrCrowded) || l.unreachable() == nil {
			t.Errorf("refused again and again: %v, %v", err, l.unreachable())
		}
		if _, err := l.Watch(t.Context(), "q", 0, time.Minute); err != nil || l.unreachable() != nil {
			t.Errorf("after that: %v, %v", err, l.unreachable())
		}
		began := time.Now()
		if err := <-waits; err != nil || time.Since(began) < 30*time.Second {
			t.Errorf("the watch ended after %v: %v", time.Since(began), err)
		}
	})
}
