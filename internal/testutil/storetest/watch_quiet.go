package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

func testWatchRunsOut(t *testing.T, b bench) {
	path, missing := b.path("a"), b.path("missing")
	index := b.set(path, "one")
	none := b.watch(missing, 0, kv.MaxWait).Index
	for _, wait := range []time.Duration{short, 0, -time.Hour} {
		b.wantsEntry(b.watch(path, index, wait), "one", index)
		if got := b.watch(missing, none, wait); got.State != kv.Absent || got.Index != none {
			t.Errorf("the watch of a missing entry ran out with %+v, want absent and still %d", got, none)
		}
	}
	// As after a restore of the store: an index that it has not reached, or has
	// no more, brings the entry as it is.
	for _, since := range []uint64{index + 1000000, 1<<64 - 1} {
		b.wantsEntry(b.watch(path, since, short), "one", index)
		if got := b.watch(missing, since, short); got.State != kv.Absent || got.Index >= since {
			t.Errorf("the watch of a missing entry since %d ran out with %+v, want absent and less", since, got)
		}
	}
}

func testWatchIdentical(t *testing.T, b bench) {
	path, missing := b.path("a"), b.path("missing")
	index := b.set(path, "one")
	none := b.watch(missing, 0, kv.MaxWait).Index
	result := b.start(path, index)
	b.blocked(result, "nothing happened")
	b.set(path, "one")
	b.commit(kv.Op{Verb: kv.CheckAndSet, Path: path, Value: []byte("one"), Index: index})
	b.commit(kv.Op{Verb: kv.CheckIndex, Path: path, Index: index})
	b.refused(kv.ErrConflict, kv.Op{Verb: kv.Set, Path: path, Value: []byte("two")}, kv.Op{Verb: kv.CheckAbsent, Path: path})
	b.commit(kv.Op{Verb: kv.Delete, Path: missing})
	b.blocked(result, "identical bytes were written")
	b.blocked(b.start(missing, none), "nothing was changed in all the store")
	index = b.set(path, "two")
	b.wantsEntry(b.answered(result), "two", index)
}

// testWatchUnrelated: what happens elsewhere wakes nobody, near by name or not.
func testWatchUnrelated(t *testing.T, b bench) {
	path, missing := b.path("k/a"), b.path("k/missing")
	index := b.set(path, "x")
	onEntry := b.start(path, index)
	onMissing := b.untouched(missing, func() {
		for _, name := range []string{"k", "k/", "k/a/b", "k/aa", "k/missing/b", "k/missin", "k/missingg", "other"} {
			b.set(b.path(name), "x")
			b.set(b.path(name), "y")
			b.commit(kv.Op{Verb: kv.Delete, Path: b.path(name)})
		}
	})
	b.blocked(onEntry, "others were written")
	both := b.commit(
		kv.Op{Verb: kv.Set, Path: path, Value: []byte("y")},
		kv.Op{Verb: kv.Set, Path: missing, Value: []byte("y")},
	)
	b.wantsEntry(b.answered(onEntry), "y", both[path])
	b.wantsEntry(b.answered(onMissing), "y", both[missing])
}

// untouched returns a watch of a missing entry that work has not woken. A watch
// that reaches the store only during the work may be answered, since the index of
// what is missing may be that of the whole store. So it has several attempts: one
// that wakes is woken in each.
func (b bench) untouched(missing string, work func()) <-chan seen {
	b.t.Helper()
	const attempts = 5
	for range attempts {
		result := b.start(missing, b.watch(missing, 0, kv.MaxWait).Index)
		b.blocked(result, "nothing happened")
		work()
		select {
		case got := <-result:
			if entry := b.sound(got.entry, got.err); entry.State != kv.Absent {
				b.t.Fatalf("the watch of a missing entry returned %+v", entry)
			}
		case <-time.After(still):
			return result
		}
	}
	b.t.Fatalf("work elsewhere ended the watch of a missing entry in each of %d attempts", attempts)
	return nil
}

func testWatchContext(t *testing.T, b bench) {
	path := b.path("a")
	index := b.set(path, "x")
	ended := func(name string, result <-chan seen, want ...error) {
		t.Helper()
		select {
		case got := <-result:
			for _, err := range append(want, kv.ErrUnreachable) {
				if !errors.Is(got.err, err) {
					t.Errorf("%s: the watch returned %+v and %v, want %v in it", name, got.entry, got.err, err)
				}
			}
		case <-time.After(patience):
			t.Fatalf("%s: the watch did not end", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	result, other := b.startWith(ctx, path, index), b.start(path, index)
	b.blocked(result, "nothing happened")
	cancel()
	ended("cancelled", result, context.Canceled)
	ended("cancelled before", b.startWith(ctx, path, 0), context.Canceled)

	timed, stop := context.WithTimeout(t.Context(), short)
	defer stop()
	ended("out of time", b.startWith(timed, path, index), context.DeadlineExceeded)

	b.blocked(other, "one that watched the same entry left")
	index = b.set(path, "y")
	b.wantsEntry(b.answered(other), "y", index)
}

func testWatchBadRequest(t *testing.T, b bench) {
	for _, bad := range []string{"", b.path("not UTF-8 \xff")} {
		if entry, err := b.watcher.Watch(t.Context(), bad, 0, short); !errors.Is(err, kv.ErrRequest) {
			t.Errorf("watching the path %q gives %+v and %v, want ErrRequest", bad, entry, err)
		}
	}
}

// testWatchLongestWait: whatever wait is asked for, a watch ends after MaxWait.
func testWatchLongestWait(t *testing.T, b bench) {
	path := b.path("a")
	index := b.set(path, "x")
	ctx, cancel := context.WithTimeout(t.Context(), kv.MaxWait+kv.MaxWait/16+patience)
	defer cancel()
	entry, err := b.watcher.Watch(ctx, path, index, 24*time.Hour)
	b.wantsEntry(b.sound(entry, err), "x", index)
}
