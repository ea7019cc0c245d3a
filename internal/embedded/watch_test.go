package embedded

import (
	"errors"
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

// A change closes the channels of the row and of its prefixes.
func TestTopics(t *testing.T) {
	s := New()
	set(t, s, "a/b/c", "x")
	set(t, s, "a/c", "x")
	set(t, s, "x/y", "x")
	topics := []Topic{
		{Path: "a/b/c"}, {"a/b", true}, {"a/b/c", true}, {"", true}, {"a/", true}, // changed
		{Path: "a/c"}, {"x", true}, {Path: "x/y"},
	}
	view := s.engine.View()
	closed := func() (n int) {
		for i, topic := range topics {
			select {
			case <-view.changed(topic):
				if n++; i >= 5 {
					t.Errorf("the change woke %v", topic)
				}
			default:
			}
		}
		return n
	}
	set(t, s, "a/b/c", "x")
	if n := closed(); n != 0 {
		t.Errorf("a write that changed nothing woke %d topics", n)
	}
	set(t, s, "a/b/c", "y")
	if n := closed(); n != 5 {
		t.Errorf("the change woke %d topics, want 5", n)
	}
}
