package storetest

import (
	"strconv"
	"testing"

	"kvexpress/internal/kv"
)

func testWatchAtOnce(t *testing.T, b bench) {
	path := b.path("a")
	b.wantsGone(b.watch(path, 0, kv.MaxWait), 0)

	first := b.set(path, "one")
	got := b.watch(path, 0, kv.MaxWait)
	b.wantsEntry(got, "one", first)
	if len(got.Value) > 0 {
		got.Value[0] = 'x' // it is the caller's
	}
	b.wantsEntry(b.watch(path, 0, kv.MaxWait), "one", first)
	second := b.set(path, "one and more")
	b.wantsEntry(b.watch(path, 0, kv.MaxWait), "one and more", second)
	b.wantsEntry(b.watch(path, first, kv.MaxWait), "one and more", second)

	empty := b.set(path, "")
	b.wantsEntry(b.watch(path, 0, kv.MaxWait), "", empty)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	index := b.set(path, string(every))
	b.wantsEntry(b.watch(path, 0, kv.MaxWait), string(every), index)
}

func testWatchChange(t *testing.T, b bench) {
	path := b.path("a")
	index := b.set(path, "one")
	result := b.start(path, index)
	b.blocked(result, "nothing happened")
	index = b.set(path, "two")
	b.wantsEntry(b.answered(result), "two", index)

	result = b.start(path, index)
	b.blocked(result, "nothing happened")
	index = b.commit(kv.Op{Verb: kv.Set, Path: path, Value: []byte("two"), Flags: 1})[path]
	b.wantsEntry(b.answered(result), "two", index)

	// One transaction that names a path several times is one change.
	result = b.start(path, index)
	b.blocked(result, "nothing happened")
	index = b.commit(
		kv.Op{Verb: kv.Delete, Path: path},
		kv.Op{Verb: kv.Set, Path: path, Value: []byte("three")},
		kv.Op{Verb: kv.Set, Path: path, Value: []byte("four")},
	)[path]
	b.wantsEntry(b.answered(result), "four", index)
	b.blocked(b.start(path, index), "the transaction had been seen")
}

func testWatchDelete(t *testing.T, b bench) {
	path := b.path("a")
	index := b.set(path, "one")
	result := b.start(path, index)
	b.blocked(result, "nothing happened")
	b.commit(kv.Op{Verb: kv.Delete, Path: path})
	gone := b.answered(result)
	b.wantsGone(gone, index)
	b.blocked(b.start(path, gone.Index), "the deletion had been seen")
}

func testWatchCreate(t *testing.T, b bench) {
	path := b.path("a")
	result := b.start(path, b.watch(path, 0, kv.MaxWait).Index)
	b.blocked(result, "nothing happened")
	index := b.set(path, "")
	b.wantsEntry(b.answered(result), "", index)
}

// testWatchMadeAgain: the same bytes after a delete are a change.
func testWatchMadeAgain(t *testing.T, b bench) {
	path := b.path("a")
	first := b.set(path, "x")
	b.commit(kv.Op{Verb: kv.Delete, Path: path})
	gone := b.watch(path, first, kv.MaxWait)
	b.wantsGone(gone, first)
	result := b.start(path, gone.Index)
	b.blocked(result, "it is still deleted")
	again := b.set(path, "x")
	b.wantsEntry(b.answered(result), "x", again)
	if again <= gone.Index {
		t.Errorf("made again with index %d, want more than %d, that of its absence", again, gone.Index)
	}
	for name, since := range map[string]uint64{"its first life": first, "its absence": gone.Index} {
		got := b.watch(path, since, kv.MaxWait)
		if got.Index != again {
			t.Errorf("since %s, the watch returned %+v, want the index %d", name, got, again)
		}
	}
}

// testWatchBetween: what happens while nobody watches is in the next answer.
func testWatchBetween(t *testing.T, b bench) {
	path := b.path("a")
	none := b.watch(path, 0, kv.MaxWait).Index
	index := b.set(path, "one")
	b.wantsEntry(b.watch(path, none, kv.MaxWait), "one", index)
	b.set(path, "two")
	last := b.set(path, "one") // as before, but not the same
	b.wantsEntry(b.watch(path, index, kv.MaxWait), "one", last)
	b.commit(kv.Op{Verb: kv.Delete, Path: path})
	b.wantsGone(b.watch(path, last, kv.MaxWait), last)
}

func testWatchMany(t *testing.T, b bench) {
	const watchers = 30
	path, other := b.path("a"), b.path("b")
	index, others := b.set(path, "one"), b.set(other, "one")
	var results []<-chan seen
	for range watchers {
		results = append(results, b.start(path, index))
	}
	elsewhere := b.start(other, others)
	for _, result := range results[:2] {
		b.blocked(result, "nothing happened")
	}
	index = b.set(path, "two")
	for _, result := range results {
		b.wantsEntry(b.answered(result), "two", index)
	}
	b.blocked(elsewhere, "another entry was written")
}

// testWatchFollow: who watches on and on, while a writer goes ahead, sees no
// value before an earlier one, and the last.
func testWatchFollow(t *testing.T, b bench) {
	const changes = 100
	path := b.path("a")
	written := make(chan error, 1)
	go func() {
		var err error
		for n := 1; n <= changes && err == nil; n++ {
			op := kv.Op{Verb: kv.Set, Path: path, Value: strconv.AppendInt(nil, int64(n), 10)}
			if n%10 == 5 {
				op = kv.Op{Verb: kv.Delete, Path: path}
			}
			_, err = b.store.Commit(t.Context(), []kv.Op{op})
		}
		written <- err
	}()
	defer func() {
		if err := <-written; err != nil {
			t.Errorf("write: %v", err)
		}
	}()
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
}
