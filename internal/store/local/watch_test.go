package local

import (
	"context"
	"errors"
	"slices"
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
		hub := &s.engine.hub
		waiting := func(path string) int { return hub.count(KeyTopic(path)) }
		topics := func() int {
			hub.mu.Lock()
			defer hub.mu.Unlock()
			return len(hub.waiting)
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
		if got := waiting("a"); got != 2 || topics() != 2 {
			t.Errorf("after one gave up, %d wait for a and %d topics are left, want 2 and 2", got, topics())
		}
		set(t, s, "a", "y")
		synctest.Wait()
		if waiting("a") != 0 || waiting("b") != 1 {
			t.Errorf("after a change of a, %d wait for a and %d for b, want 0 and 1", waiting("a"), waiting("b"))
		}
		cancel()
		group.Wait()
		if topics() != 0 {
			t.Errorf("%d topics are left, want none", topics())
		}
	})
}

// One that was woken may come back before another one leaves: it must not take the new wait with it.
func TestNotifyCancelLate(t *testing.T) {
	s := New()
	rung := 0
	late := s.engine.Notify(KeyTopic("a"), func() { rung++ })
	set(t, s, "a", "x")
	s.engine.Notify(KeyTopic("a"), func() { rung += 10 })
	late()
	late()
	set(t, s, "a", "y")
	set(t, s, "a", "z")
	if rung != 11 {
		t.Errorf("the waits were rung %d times, want each once (11)", rung)
	}
}

// A change wakes those who wait for the row or for a prefix of it, and nobody else.
func TestNotifyTopics(t *testing.T) {
	s := New()
	set(t, s, "a/b/c", "x")
	var rung []string
	wait := func(name string, topic Topic) { s.engine.Notify(topic, func() { rung = append(rung, name) }) }
	all := func() {
		rung = nil
		wait("key", KeyTopic("a/b/c"))
		wait("other", KeyTopic("a/b"))
		wait("prefix", PrefixTopic("a/b"))
		wait("long", PrefixTopic("a/b/c/d"))
		wait("empty", PrefixTopic("x"))
		wait("all", PrefixTopic(""))
		wait("sessions", SessionsTopic())
	}
	all()
	set(t, s, "a/b/c", "x")
	if len(rung) != 0 {
		t.Errorf("a write that changed nothing woke %q", rung)
	}
	set(t, s, "a/b/c", "y")
	slices.Sort(rung)
	if want := []string{"all", "key", "prefix"}; !slices.Equal(rung, want) {
		t.Errorf("the change woke %q, want %q", rung, want)
	}
	if got := len(s.engine.hub.lengths); got != 2 {
		t.Errorf("%d lengths of prefixes are left, want 2", got)
	}
	if _, err := s.engine.CreateSession(t.Context(), Session{}); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(rung, "sessions") || len(rung) != 4 {
		t.Errorf("a new session woke %q, want sessions in addition", rung)
	}
}
