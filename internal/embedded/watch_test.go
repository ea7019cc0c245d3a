package embedded

import (
	"context"
	"errors"
	"fmt"
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

// A denied path is neither absent nor empty, whether it exists or not.
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
		t.Errorf("watching an allowed path gives %+v and %v, want its absence", entry, err)
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

// A change wakes only the watches of its path. A watch that ends, for any reason, leaves nothing behind.
func TestWatchLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		a, b := set(t, s, "a", "x"), set(t, s, "b", "x")
		hub := &s.engine.hub
		waiting := func(path string) int {
			hub.mu.Lock()
			defer hub.mu.Unlock()
			if b := hub.bells[KeyTopic(path)]; b != nil {
				return b.waiting
			}
			return 0
		}
		topics := func() int {
			hub.mu.Lock()
			defer hub.mu.Unlock()
			return len(hub.bells)
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

// No wake-up is lost if a row changes between the read and the wait. The clock of this test moves only when all goroutines wait, so a
// lost wake-up takes an hour.
func TestNoWakeUpIsLost(t *testing.T) {
	for _, topic := range []Topic{KeyTopic("a/b"), PrefixTopic("a/"), PrefixTopic("")} {
		synctest.Test(t, func(t *testing.T) {
			s := New()
			index, reads, began := set(t, s, "a/b", "0"), 0, time.Now()
			err := s.engine.Await(t.Context(), topic, time.Hour, func(v View) bool {
				reads++
				if reads <= 3 {
					set(t, s, "a/b", fmt.Sprint(reads)) // the view does not have it
				}
				return v.Get("a/b").ModifyIndex >= index+3
			})
			if err != nil || reads != 4 || time.Since(began) != 0 {
				t.Errorf("%v: it read %d times in %s, %v; want 4 times at once", topic, reads, time.Since(began), err)
			}
		})
	}
}

// rang returns the names of the bells that a change rings.
func rang(change func(), bells map[string]*bell) (names []string) {
	change()
	for name, b := range bells {
		select {
		case <-b.rung:
			names = append(names, name)
		default:
		}
	}
	slices.Sort(names)
	return names
}

// A watch that leaves late must not remove the bell of a newer watch.
func TestLateLeaver(t *testing.T) {
	s, topic := New(), KeyTopic("a")
	late := s.engine.hub.subscribe(topic)
	set(t, s, "a", "x")
	next := s.engine.hub.subscribe(topic)
	s.engine.hub.leave(topic, late)
	names := rang(func() { set(t, s, "a", "y"); set(t, s, "a", "z") }, map[string]*bell{"late": late, "next": next})
	if !slices.Equal(names, []string{"late", "next"}) {
		t.Errorf("rung were %q, want both, each once", names)
	}
}

// A change wakes only the watches of the row and of its prefixes.
func TestTopics(t *testing.T) {
	s := New()
	set(t, s, "a/b/c", "x")
	bells := map[string]*bell{}
	for name, topic := range map[string]Topic{
		"key": KeyTopic("a/b/c"), "other": KeyTopic("a/b"), "prefix": PrefixTopic("a/b"), "long": PrefixTopic("a/b/c/d"),
		"empty": PrefixTopic("x"), "all": PrefixTopic(""),
	} {
		bells[name] = s.engine.hub.subscribe(topic)
	}
	if names := rang(func() { set(t, s, "a/b/c", "x") }, bells); len(names) != 0 {
		t.Errorf("a write that changed nothing woke %q", names)
	}
	names := rang(func() { set(t, s, "a/b/c", "y") }, bells)
	if want := []string{"all", "key", "prefix"}; !slices.Equal(names, want) {
		t.Errorf("the change woke %q, want %q", names, want)
	}
	if got := len(s.engine.hub.lengths); got != 2 {
		t.Errorf("%d lengths of prefixes are left, want 2", got)
	}
}
