package storetest

import (
	"context"
	"os"
	"sync"
	"time"

	"kvexpress/internal/kv"
)

const (
	// patience is for a watch to be answered on a machine that has more to do. It
	// is shorter than the waits that are asked for here, so that a watch that
	// merely ran out is not taken for one that woke.
	patience = 30 * time.Second
	// still is how long a watch is seen to be blocked. A shorter look only sees
	// less.
	still = 150 * time.Millisecond
	// short is the wait of a watch that is to run out.
	short = 100 * time.Millisecond
)

// watchParts are for stores that implement kv.Watcher. With KVEXPRESS_SOAK=1 there is
// one that takes a minute.
func watchParts() []part {
	parts := []part{
		{"AtOnce", testWatchAtOnce},
		{"Change", testWatchChange},
		{"Delete", testWatchDelete},
		{"Create", testWatchCreate},
		{"MadeAgain", testWatchMadeAgain},
		{"Between", testWatchBetween},
		{"RunsOut", testWatchRunsOut},
		{"Identical", testWatchIdentical},
		{"Unrelated", testWatchUnrelated},
		{"Many", testWatchMany},
		{"Follow", testWatchFollow},
		{"Context", testWatchContext},
		{"BadRequest", testWatchBadRequest},
	}
	if os.Getenv("KVEXPRESS_SOAK") == "1" {
		parts = append(parts, part{"LongestWait", testWatchLongestWait})
	}
	return parts
}

// seen is how a watch ended.
type seen struct {
	entry kv.Entry
	err   error
}

// start watches beside the test, for as long as a watch may last.
func (b bench) start(path string, since uint64) <-chan seen {
	return b.startWith(b.t.Context(), path, since)
}

// startWith is start with a context of its own.
func (b bench) startWith(ctx context.Context, path string, since uint64) <-chan seen {
	result := make(chan seen, 1)
	var group sync.WaitGroup
	group.Go(func() {
		entry, err := b.watcher.Watch(ctx, path, since, kv.MaxWait)
		result <- seen{entry, err}
	})
	b.t.Cleanup(group.Wait) // the test's context has ended then
	return result
}

// blocked makes sure that a watch has not been answered.
func (b bench) blocked(result <-chan seen, why string) {
	b.t.Helper()
	select {
	case got := <-result:
		b.t.Fatalf("%s, and the watch returned %+v and %v; want it to go on", why, got.entry, got.err)
	case <-time.After(still):
	}
}

// answered waits for the answer of a watch, which must come before its time is up.
func (b bench) answered(result <-chan seen) kv.Entry {
	b.t.Helper()
	select {
	case got := <-result:
		return b.sound(got.entry, got.err)
	case <-time.After(patience):
		b.t.Fatalf("no answer within %s: the watch did not wake", patience)
	}
	return kv.Entry{}
}

// watch asks and waits for the answer, which must come at once, or after wait if
// that is short.
func (b bench) watch(path string, since uint64, wait time.Duration) kv.Entry {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	entry, err := b.watcher.Watch(ctx, path, since, wait)
	return b.sound(entry, err)
}

// sound makes sure of what holds for every answer.
func (b bench) sound(entry kv.Entry, err error) kv.Entry {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("watch: %v", err)
	}
	if entry.State != kv.Present && entry.State != kv.Absent || entry.State == kv.Absent && len(entry.Value) > 0 {
		b.t.Fatalf("a watch returned %+v, want an entry or its absence", entry)
	}
	if entry.Index == 0 {
		b.t.Fatalf("a watch returned %+v, want an index: with 0, the next one would not wait", entry)
	}
	return entry
}

// wantsEntry compares an answer with a value and its index.
func (b bench) wantsEntry(got kv.Entry, value string, index uint64) {
	b.t.Helper()
	if got.State != kv.Present || string(got.Value) != value || got.Index != index {
		b.t.Errorf("the watch returned state %d, value %.40q and index %d, want present, %.40q and %d",
			got.State, got.Value, got.Index, value, index)
	}
}

// wantsGone compares an answer with the absence of an entry, at a higher index.
func (b bench) wantsGone(got kv.Entry, above uint64) {
	b.t.Helper()
	if got.State != kv.Absent || got.Index <= above {
		b.t.Errorf("the watch returned state %d, value %.40q and index %d, want absent and more than %d",
			got.State, got.Value, got.Index, above)
	}
}
