package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// An agent that has run for long is restarted, reloaded and restarted again and again, and meanwhile its store goes away.
// Consul would allow 200 connections. Taken out: the short waits at first, or that places are given one after the other;
// then there are more.
func TestWaitsOfManyRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const targets = 70
		s := newSite(t, dir, targets, time.Hour)
		for range 2 {
			pass(10 * time.Minute)
			for range 5 {
				s.end()
				s.begin()
				pass(2 * time.Second)
			}
			pass(10 * time.Minute)
			for i := range 5 {
				s.config.Reconcile += time.Duration(i+1) * time.Second // so that no target stays
				if err := s.agent.Reload(s.config); err != nil {
					t.Error(err)
				}
				pass(time.Second)
			}
			s.end()
			s.begin()
			pass(time.Minute)
			s.store.down.Store(true)
			pass(70 * time.Second)
			s.store.down.Store(false)
			pass(15 * time.Second)
			s.all(outcome.Converged, "one\n")
		}
		// Beside waits there are reads.
		t.Logf("Consul would count at most %d connections", s.store.highest.Load())
		if most := s.store.highest.Load(); most > 200-maxReads || most < maxWatched {
			t.Errorf("Consul would count %d connections", most)
		}
		s.end()
	})
}

// Too many requests are no outage: what is refused is tried again. What waits goes on to wait, even if all is refused for
// longer. Taken out: that an outage of that kind ends nothing; then the watch ends.
func TestLinkWhereThereAreTooManyRequests(t *testing.T) {
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
