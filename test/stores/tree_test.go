package stores

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"kvexpress/internal/kv"
)

// testReadTree: a path with a slash at the end brings every row below it, with values, flags and indexes, beside other paths.
func testReadTree(t *testing.T, b bench) {
	read := func(paths ...string) kv.Snapshot {
		t.Helper()
		snap, err := b.store.Read(t.Context(), kv.Default, paths...)
		if err != nil {
			t.Fatal(err)
		}
		return snap
	}
	tree, row, missing := b.path("t/"), b.path("row"), b.path("missing")
	if snap := read(tree, missing); len(snap) != 1 || snap[missing].State != kv.Absent {
		t.Errorf("an empty tree and a missing row are %v, want the missing row only", snap)
	}
	b.commit(kv.Op{Verb: kv.Set, Path: b.path("t/a/b/c"), Value: everyByte(), Flags: 7})
	for _, name := range []string{"t/x", "t/x/", "t/x/y", "row", "t", "ta"} {
		b.set(b.path(name), name)
	}
	snap := read(row, tree, missing)
	want := []string{missing, row, b.path("t/a/b/c"), b.path("t/x"), b.path("t/x/"), b.path("t/x/y")}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(snap)); !slices.Equal(got, want) {
		t.Errorf("the snapshot has %q, want %q", got, want)
	}
	if e := snap[b.path("t/a/b/c")]; e.State != kv.Present || string(e.Value) != string(everyByte()) || e.Flags != 7 ||
		e.Index != b.read(b.path("t/a/b/c")).Index {
		t.Errorf("a row deep in the tree is %+v", e)
	}
	if e := snap[row]; string(e.Value) != "row" || snap[missing].State != kv.Absent {
		t.Errorf("the rows beside the tree are %+v and %+v", e, snap[missing])
	}

	// A tree counts as one path, whatever its size.
	ops := make([]kv.Op, kv.MaxOps)
	paths := []string{tree}
	for i := range ops {
		ops[i] = kv.Op{Verb: kv.Set, Path: b.path(fmt.Sprintf("t/many/%02d", i))}
		paths = append(paths, b.path(fmt.Sprintf("plain-%02d", i)))
	}
	b.commit(ops...)
	if snap := read(paths[:kv.MaxOps]...); len(snap) != len(ops)+4+kv.MaxOps-1 {
		t.Errorf("a tree of %d rows beside %d paths gives %d rows", len(ops)+4, kv.MaxOps-1, len(snap))
	}
}
