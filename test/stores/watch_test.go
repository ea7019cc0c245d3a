package stores

import (
	"context"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

// start watches beside the test.
func (b bench) start(path string, since uint64) <-chan answer[kv.Entry] {
	return b.startWith(b.t.Context(), path, since)
}

func (b bench) startWith(ctx context.Context, path string, since uint64) <-chan answer[kv.Entry] {
	return start(b, func() (kv.Entry, error) { return b.watcher.Watch(ctx, path, since, kv.MaxWait) })
}

// watch asks and waits for the answer, which must come at once, or after wait if that is short.
func (b bench) watch(path string, since uint64, wait time.Duration) kv.Entry {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	return b.valid(b.watcher.Watch(ctx, path, since, wait))
}

// valid checks what holds for every answer.
func (b bench) valid(entry kv.Entry, err error) kv.Entry {
	b.t.Helper()
	if err != nil || entry.State != kv.Present && entry.State != kv.Absent || entry.State == kv.Absent && len(entry.Value) > 0 {
		b.t.Fatalf("a watch returned %+v and %v, want an entry or its absence", entry, err)
	}
	if entry.Index == 0 {
		b.t.Fatalf("a watch returned %+v, want an index: with 0, the next one would not wait", entry)
	}
	return entry
}

func testWatchAtOnce(_ *testing.T, b bench) {
	path := b.path("a")
	b.wantsNone(b.watch(path, 0, kv.MaxWait), 0)
	first := b.set(path, "one")
	got := b.watch(path, 0, kv.MaxWait)
	b.wantsEntry(got, "one", first)
	if len(got.Value) > 0 {
		got.Value[0] = 'x' // it is the caller's
	}
	b.wantsEntry(b.watch(path, 0, kv.MaxWait), "one", first)
	b.set(path, "two")
	last := b.set(path, "one") // the bytes of before, and another entry
	for _, since := range []uint64{0, first} {
		b.wantsEntry(b.watch(path, since, kv.MaxWait), "one", last)
	}
	for _, value := range []string{"", string(everyByte())} {
		index := b.set(path, value)
		b.wantsEntry(b.watch(path, 0, kv.MaxWait), value, index)
	}
}

// testWatchWakes: each of these wakes a watch, once. A watch that starts later sees it, too.
func testWatchWakes(t *testing.T, b bench) {
	path := b.path("a")
	index := b.watch(path, 0, kv.MaxWait).Index
	for _, change := range []struct {
		name  string
		value string
		ops   []kv.Op // the last one makes the value; a Delete, none
	}{
		{"created", "", []kv.Op{set(path, "")}},
		{"changed", "one", []kv.Op{set(path, "one")}},
		{"other flags", "one", []kv.Op{{Verb: kv.Set, Path: path, Value: []byte("one"), Flags: 1}}},
		{"several operations", "three", []kv.Op{del(path), set(path, "two"), set(path, "three")}},
		{"deleted", "", []kv.Op{del(path)}},
		{"made again", "three", []kv.Op{set(path, "three")}},
	} {
		result := b.start(path, index)
		blocked(b, result, "nothing happened")
		written := b.commit(change.ops...)
		got := b.valid(answered(b, result))
		for _, got := range []kv.Entry{got, b.watch(path, index, kv.MaxWait)} {
			if change.ops[len(change.ops)-1].Verb == kv.Delete {
				b.wantsNone(got, index)
			} else {
				b.wantsEntry(got, change.value, written[path])
			}
			if got.Index <= index {
				t.Errorf("%s: the index went from %d to %d", change.name, index, got.Index)
			}
		}
		index = got.Index
		blocked(b, b.start(path, index), change.name+" was seen")
	}
}

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
	// As after a restore: with an index that the store has not reached, the entry comes as it is.
	for _, since := range []uint64{index + 1000000, 1<<64 - 1} {
		b.wantsEntry(b.watch(path, since, short), "one", index)
		if got := b.watch(missing, since, short); got.State != kv.Absent || got.Index >= since {
			t.Errorf("the watch of a missing entry since %d ran out with %+v, want absent and less", since, got)
		}
	}
}

func testWatchIdentical(_ *testing.T, b bench) {
	path, missing := b.path("a"), b.path("missing")
	index := b.set(path, "one")
	none := b.watch(missing, 0, kv.MaxWait).Index
	result := b.start(path, index)
	blocked(b, result, "nothing happened")
	b.set(path, "one")
	b.commit(cas(path, "one", index))
	b.commit(kv.Op{Verb: kv.CheckIndex, Path: path, Index: index})
	b.refused(kv.ErrConflict, set(path, "two"), kv.Op{Verb: kv.CheckAbsent, Path: path})
	b.remove(missing)
	blocked(b, result, "identical bytes were written")
	blocked(b, b.start(missing, none), "nothing was changed in all the store")
	index = b.set(path, "two")
	b.wantsEntry(b.valid(answered(b, result)), "two", index)
}

// testWatchUnrelated: writes to other paths wake no watch, however similar their names are. A write wakes all
// watches of its path.
func testWatchUnrelated(_ *testing.T, b bench) {
	path, missing := b.path("k/a"), b.path("k/missing")
	index := b.set(path, "x")
	var onEntry []<-chan answer[kv.Entry]
	for range 30 {
		onEntry = append(onEntry, b.start(path, index))
	}
	onMissing := b.untouched(missing, func() {
		for _, name := range []string{"k", "k/", "k/a/b", "k/aa", "k/missing/b", "k/missin", "k/missingg", "other"} {
			b.set(b.path(name), "x")
			b.set(b.path(name), "y")
			b.remove(b.path(name))
		}
	})
	blocked(b, onEntry[0], "others were written")
	both := b.commit(set(path, "y"), set(missing, "y"))
	for _, result := range onEntry {
		b.wantsEntry(b.valid(answered(b, result)), "y", both[path])
	}
	b.wantsEntry(b.valid(answered(b, onMissing)), "y", both[missing])
}

// untouched returns a watch of a missing entry that work has not woken. A watch that reaches the
// store only during the work may be answered: the index of a missing entry may be the whole
// store's. So it has several attempts. A store that wakes such watches wakes each of them.
func (b bench) untouched(missing string, work func()) <-chan answer[kv.Entry] {
	b.t.Helper()
	const attempts = 5
	for range attempts {
		result := b.start(missing, b.watch(missing, 0, kv.MaxWait).Index)
		blocked(b, result, "nothing happened")
		work()
		select {
		case a := <-result:
			if entry := b.valid(a.got, a.err); entry.State != kv.Absent {
				b.t.Fatalf("the watch of a missing entry returned %+v", entry)
			}
		case <-time.After(still):
			return result
		}
	}
	b.t.Fatalf("work elsewhere ended the watch of a missing entry in each of %d attempts", attempts)
	return nil
}

// testWatchFollow: a client that watches while another writes sees no value before an earlier
// one, and sees the last.
func testWatchFollow(t *testing.T, b bench) {
	const changes = 100
	path := b.path("a")
	written := start(b, func() (err error, _ error) {
		for n := 1; n <= changes && err == nil; n++ {
			op := set(path, strconv.Itoa(n))
			if n%10 == 5 {
				op = del(path)
			}
			_, err = b.store.Commit(t.Context(), []kv.Op{op})
		}
		return err, nil
	})
	since, last := uint64(0), 0
	for last < changes {
		got := b.watch(path, since, kv.MaxWait)
		if got.Index <= since {
			t.Fatalf("after index %d, the watch returned %+v", since, got)
		}
		since = got.Index
		if got.State == kv.Absent {
			continue
		}
		n, err := strconv.Atoi(string(got.Value))
		if err != nil || n <= last {
			t.Fatalf("after value %d, the watch returned %q", last, got.Value)
		}
		last = n
	}
	if err, _ := answered(b, written); err != nil {
		t.Errorf("write: %v", err)
	}
}

func testWatchContext(t *testing.T, b bench) {
	path := b.path("a")
	index := b.set(path, "x")
	ended := func(name string, result <-chan answer[kv.Entry], want error) {
		t.Helper()
		if got, err := answered(b, result); !errors.Is(err, want) || !errors.Is(err, kv.ErrUnreachable) {
			t.Errorf("%s: the watch returned %+v and %v, want %v and ErrUnreachable", name, got, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	result, other := b.startWith(ctx, path, index), b.start(path, index)
	blocked(b, result, "nothing happened")
	cancel()
	ended("cancelled", result, context.Canceled)
	timed, stop := context.WithTimeout(t.Context(), short)
	defer stop()
	ended("out of time", b.startWith(timed, path, index), context.DeadlineExceeded)
	blocked(b, other, "another watch of the same entry ended")
	index = b.set(path, "y")
	b.wantsEntry(b.valid(answered(b, other)), "y", index)
}

// testWatchLongestWait: a watch ends after kv.MaxWait, also if a longer wait is asked for.
func testWatchLongestWait(t *testing.T, b bench) {
	if os.Getenv("KVEXPRESS_SOAK") != "1" {
		t.Skip("it takes a minute; set KVEXPRESS_SOAK=1")
	}
	path := b.path("a")
	index := b.set(path, "x")
	ctx, cancel := context.WithTimeout(t.Context(), kv.MaxWait+kv.MaxWait/16+patience)
	defer cancel()
	b.wantsEntry(b.valid(b.watcher.Watch(ctx, path, index, 24*time.Hour)), "x", index)
}
