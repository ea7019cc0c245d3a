package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/outcome"
)

// An agent that has run for long is restarted, reloaded and restarted again and again, and its store becomes unreachable.
// It stays below Consul's 200 connections, because its first waits are short and places are given one after the other.
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
