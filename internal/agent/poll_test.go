package agent

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// ask follows a row until it is answered.
func (p *poller) ask(ctx context.Context, path string, since uint64) <-chan Snapshot {
	answers := make(chan Snapshot, 1)
	p.follow(ctx, question{path: path, since: since, limit: time.Minute}, answers)
	return answers
}

// One row is denied, one is missing, and one changes: each target gets the answer about its own row.
func TestPollTellsEachOfItsRow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &day{Store: embedded.New(embedded.Deny(func(path string, _ bool) bool { return path == "denied" }))}
		p := newTestSource(s).poller
		denied, missing := p.ask(t.Context(), "denied", 0), p.ask(t.Context(), "missing", 0)
		if a := <-denied; !errors.Is(a.Err, kv.ErrDenied) {
			t.Errorf("denied: %+v", a)
		}
		a := <-missing
		if a.Err != nil || a.entry().State != kv.Absent || a.index == 0 {
			t.Errorf("missing: %+v", a)
		}
		began := time.Now()
		missing = p.ask(t.Context(), "missing", a.index)
		pass(20 * time.Second)
		if len(missing) != 0 {
			t.Error("the missing row is said to have changed")
		}
		if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: "missing", Value: []byte("x")}}); err != nil {
			t.Error(err)
		}
		if a := <-missing; a.Err != nil || a.entry().State != kv.Present || time.Since(began) > 26*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), a)
		}
	})
}

// However many targets there are, at rest each has one goroutine, and only the watched ones a second.
func TestGoroutinesOfManyTargets(t *testing.T) { // not parallel: it counts those of the process
	const targets = maxWatched + 2*kv.MaxOps
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		s := newSite(t, dir, targets, time.Hour)
		pass(3*time.Minute + 30*time.Second) // not when questions end
		s.all(outcome.Converged, "one\n")
		if got, most := runtime.NumGoroutine()-before, targets+maxWatched+20; got > most {
			t.Errorf("%d goroutines, want %d at most", got, most)
		}
		if most := s.store.most.Load(); most > maxWatched {
			t.Errorf("%d watches at once", most)
		}
		s.end()
	})
}
