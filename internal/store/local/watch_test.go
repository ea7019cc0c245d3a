package local

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
)

func set(t *testing.T, s *Store, path, value string) uint64 {
	t.Helper()
	indexes, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value)}})
	if err != nil {
		t.Fatal(err)
	}
	return indexes[path]
}

// What may not be read is neither absent nor empty, whether it exists or not.
func TestWatchDenied(t *testing.T) {
	s := New(Deny(func(path string, write bool) bool { return !write && path != "open" }))
	set(t, s, "secret", "x")
	for _, path := range []string{"secret", "missing"} {
		for _, since := range []uint64{0, 1} {
			if entry, err := s.Watch(t.Context(), path, since, time.Second); !errors.Is(err, kv.ErrDenied) {
				t.Errorf("watching %s since %d gives %+v and %v, want ErrDenied", path, since, entry, err)
			}
		}
	}
	if entry, err := s.Watch(t.Context(), "open", 0, time.Second); err != nil || entry.State != kv.Absent {
		t.Errorf("watching what is allowed gives %+v and %v, want its absence", entry, err)
	}
}

// No wait is longer than kv.MaxWait, or so short that a caller's loop would spin.
func TestWatchWaits(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{
		24 * time.Hour: kv.MaxWait, 2 * time.Second: 2 * time.Second, 0: minWait, -time.Hour: minWait,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := New()
			index := set(t, s, "a", "x")
			begun := time.Now()
			entry, err := s.Watch(t.Context(), "a", index, wait)
			if err != nil || string(entry.Value) != "x" || entry.Index != index {
				t.Errorf("the watch gives %+v and %v, want x at %d", entry, err, index)
			}
			if took := time.Since(begun); took != want {
				t.Errorf("a wait of %s took %s, want %s", wait, took, want)
			}
		})
	}
}

// A change wakes those who wait for it and nobody else, and whoever leaves, for
// whatever reason, leaves nothing behind.
func TestWatchLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		a, b := set(t, s, "a", "x"), set(t, s, "b", "x")
		waiting := func(path string) int {
			s.mu.Lock()
			defer s.mu.Unlock()
			if bell := s.bells[path]; bell != nil {
				return bell.waiting
			}
			return 0
		}
		var group sync.WaitGroup
		watch := func(ctx context.Context, path string, since uint64, wait time.Duration) {
			group.Go(func() { _, _ = s.Watch(ctx, path, since, wait) })
		}
		ctx, cancel := context.WithCancel(t.Context())
		watch(ctx, "a", a, kv.MaxWait)
		watch(t.Context(), "a", a, time.Second)
		watch(t.Context(), "a", a, kv.MaxWait)
		watch(ctx, "b", b, kv.MaxWait)
		watch(t.Context(), "missing", b, time.Second)
		watch(t.Context(), "ahead", b+5, time.Second)

		synctest.Wait()
		if got := waiting("a"); got != 3 {
			t.Errorf("%d wait for a, want 3", got)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if got := waiting("a"); got != 2 || len(s.bells) != 2 {
			t.Errorf("after one gave up, %d wait for a and %d bells are left, want 2 and 2", got, len(s.bells))
		}
		set(t, s, "a", "y")
		synctest.Wait()
		if waiting("a") != 0 || waiting("b") != 1 {
			t.Errorf("after a change of a, %d wait for a and %d for b, want 0 and 1", waiting("a"), waiting("b"))
		}
		cancel()
		group.Wait()
		if len(s.bells) != 0 {
			t.Errorf("%d bells are left, want none", len(s.bells))
		}
	})
}

// One that was woken may come back before another one leaves the bell that was
// rung: it must not take the new bell with it.
func TestWatchNewBell(t *testing.T) {
	s := New()
	index := set(t, s, "a", "x")
	_, old := s.look("a", index)
	index = set(t, s, "a", "y")
	_, bell := s.look("a", index)
	s.leave("a", old)
	set(t, s, "a", "z")
	select {
	case <-bell.rung:
	default:
		t.Error("a change did not ring the bell of one who waits")
	}
}
