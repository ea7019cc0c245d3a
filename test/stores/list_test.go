package stores

import (
	"context"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

func (b bench) list(since uint64, wait time.Duration) kv.Listing {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	all, err := b.store.List(ctx, kv.Default, b.prefix, since, wait)
	return b.whole(all, err)
}

// whole checks what holds for every list.
func (b bench) whole(all kv.Listing, err error) kv.Listing {
	b.t.Helper()
	if err != nil || all.Index == 0 || all.Filtered {
		b.t.Fatalf("a list has index %d, filtered %t, error %v; want an index, and all rows", all.Index, all.Filtered, err)
	}
	return all
}

// wantsRows compares a list with paths and values in turn.
func (b bench) wantsRows(all kv.Listing, want ...string) {
	b.t.Helper()
	if len(all.Rows) != len(want)/2 {
		b.t.Fatalf("%d rows are listed, want %d: %+v", len(all.Rows), len(want)/2, all.Rows)
	}
	for i, row := range all.Rows {
		if row.Path != b.path(want[2*i]) || string(row.Value) != want[2*i+1] || row.State != kv.Present || row.Index == 0 {
			b.t.Errorf("row %d is %+v, want %s with %q", i, row, b.path(want[2*i]), want[2*i+1])
		}
	}
}

// testListAll: the empty prefix lists the rows of all.
func testListAll(t *testing.T, b bench) {
	b.set(b.path("a"), "1")
	other := "storetest-" + kv.NewID()
	b.set(other, "2")
	defer b.remove(other)
	all, err := b.store.List(t.Context(), kv.Consistent, "", 0, 0)
	b.whole(all, err)
	if _, err := b.store.List(t.Context(), kv.Stale, "", 0, 0); err != nil {
		t.Errorf("a stale list: %v", err)
	}
	values := map[string]string{}
	for i, row := range all.Rows {
		values[row.Path] = string(row.Value)
		if i > 0 && row.Path <= all.Rows[i-1].Path {
			t.Errorf("%s comes after %s", row.Path, all.Rows[i-1].Path)
		}
	}
	if values[b.path("a")] != "1" || values[other] != "2" {
		t.Errorf("the list of all has %d rows, and not these two", len(values))
	}
}

// testListWaits: a change or a deletion below the prefix wakes a list, and nothing else does.
func testListWaits(t *testing.T, b bench) {
	b.set(b.path("a"), "1")
	first := b.list(0, 0)
	if again := b.list(first.Index, short); again.Index != first.Index {
		t.Errorf("nothing changed, and the index went from %d to %d", first.Index, again.Index)
	}
	wait := func(since uint64) <-chan answer[kv.Listing] {
		return start(b, func() (kv.Listing, error) { return b.store.List(t.Context(), kv.Default, b.prefix, since, kv.MaxWait) })
	}
	result := wait(first.Index)
	b.set("storetest/"+kv.NewID()+"/other", "x")
	blocked(b, result, "another prefix changed")
	b.set(b.path("b"), "2")
	second := b.whole(answered(b, result))
	b.wantsRows(second, "a", "1", "b", "2")
	result = wait(second.Index)
	b.remove(b.path("a"))
	third := b.whole(answered(b, result))
	if b.wantsRows(third, "b", "2"); third.Index <= second.Index {
		t.Errorf("the index went from %d to %d with a deletion", second.Index, third.Index)
	}
}
