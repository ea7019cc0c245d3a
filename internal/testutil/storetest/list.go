package storetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

func (b bench) list(since uint64, wait time.Duration) kv.Listing {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	all, err := b.store.List(ctx, kv.Default, b.prefix, since, wait)
	if err != nil {
		b.t.Fatalf("list: %v", err)
	}
	if all.Index == 0 || all.Filtered {
		b.t.Fatalf("a list has index %d, filtered %t; want an index, and all rows", all.Index, all.Filtered)
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

// testList: all rows below a prefix, in order, with values, flags and indexes.
func testList(t *testing.T, b bench) {
	binary := []byte{0, 1, 0xff, '"', '\n'}
	indexes := b.commit(
		kv.Op{Verb: kv.Set, Path: b.path("b"), Value: binary, Flags: 7},
		kv.Op{Verb: kv.Set, Path: b.path("a/x"), Value: []byte("1")},
		kv.Op{Verb: kv.Set, Path: b.path("a"), Value: nil},
	)
	all := b.list(0, 0)
	b.wantsRows(all, "a", "", "a/x", "1", "b", string(binary))
	last := all.Rows[2]
	if last.Flags != 7 || last.Index != indexes[b.path("b")] || !bytes.Equal(last.Value, binary) {
		t.Errorf("the last row is %+v, want flags 7 and index %d", last, indexes[b.path("b")])
	}
	if all.Index != last.Index {
		t.Errorf("the list has index %d, its newest row %d", all.Index, last.Index)
	}
	for _, mode := range []kv.Consistency{kv.Stale, kv.Consistent} {
		if _, err := b.store.List(t.Context(), mode, b.prefix, 0, 0); err != nil {
			t.Errorf("list with consistency %d: %v", mode, err)
		}
	}
	if _, err := b.store.List(t.Context(), kv.Default, "not UTF-8 \xff", 0, 0); !errors.Is(err, kv.ErrRequest) {
		t.Errorf("listing a path that is not UTF-8 gives %v, want ErrRequest", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.store.List(ended, kv.Default, b.prefix, 0, 0); !errors.Is(err, kv.ErrUnreachable) {
		t.Errorf("listing after the end of the context gives %v, want ErrUnreachable", err)
	}
}

// testListAll: with no prefix, the rows of all are listed.
func testListAll(t *testing.T, b bench) {
	b.set(b.path("a"), "1")
	other := "storetest-" + kv.NewID()
	b.set(other, "2")
	all, err := b.store.List(t.Context(), kv.Default, "", 0, 0)
	if err != nil {
		t.Fatalf("list all: %v", err)
	}
	values := map[string]string{}
	for i, row := range all.Rows {
		values[row.Path] = string(row.Value)
		if i > 0 && row.Path <= all.Rows[i-1].Path {
			t.Errorf("%s comes after %s", row.Path, all.Rows[i-1].Path)
		}
	}
	if values[b.path("a")] != "1" || values[other] != "2" || all.Index == 0 {
		t.Errorf("the list of all has %d rows and index %d, and not these two", len(values), all.Index)
	}
	b.commit(kv.Op{Verb: kv.Delete, Path: other})
}

// testListWaits: it is woken by a change below the prefix, by a deletion too, and
// by nothing else; and it runs out.
func testListWaits(t *testing.T, b bench) {
	b.set(b.path("a"), "1")
	first := b.list(0, 0)
	if again := b.list(first.Index, short); again.Index != first.Index {
		t.Errorf("nothing changed, and the index went from %d to %d", first.Index, again.Index)
	}
	type answer struct {
		all kv.Listing
		err error
	}
	wait := func(since uint64) <-chan answer {
		got := make(chan answer, 1)
		go func() { // ends with the test's context at the latest
			all, err := b.store.List(t.Context(), kv.Default, b.prefix, since, kv.MaxWait)
			got <- answer{all, err}
		}()
		return got
	}
	wake := func(got <-chan answer, change func()) kv.Listing {
		t.Helper()
		change()
		select {
		case a := <-got:
			if a.err != nil {
				t.Fatalf("list: %v", a.err)
			}
			return a.all
		case <-time.After(patience):
			t.Fatal("a change did not wake the list")
		}
		return kv.Listing{}
	}
	got := wait(first.Index)
	b.set("storetest/"+kv.NewID()+"/other", "x")
	select {
	case a := <-got:
		t.Fatalf("another prefix changed, and the list returned %+v and %v", a.all, a.err)
	case <-time.After(still):
	}
	second := wake(got, func() { b.set(b.path("b"), "2") })
	b.wantsRows(second, "a", "1", "b", "2")
	third := wake(wait(second.Index), func() { b.commit(kv.Op{Verb: kv.Delete, Path: b.path("a")}) })
	b.wantsRows(third, "b", "2")
	if third.Index <= second.Index {
		t.Errorf("the index went from %d to %d with a deletion", second.Index, third.Index)
	}
}

func testListEmpty(t *testing.T, b bench) {
	b.wantsRows(b.list(0, 0))
	index := b.set(b.path("a"), "1")
	b.commit(kv.Op{Verb: kv.Delete, Path: b.path("a")})
	all := b.list(0, 0)
	b.wantsRows(all)
	if all.Index <= index {
		t.Errorf("the list of what was deleted has index %d, the row had %d", all.Index, index)
	}
}
