package stores

import (
	"testing"

	"kvexpress/internal/kv"
)

func testIndex(t *testing.T, b bench) {
	path, other := b.path("a"), b.path("b")
	first := b.set(path, "one")
	if first == 0 {
		t.Fatal("a written entry has index 0")
	}
	if again := b.set(path, "one"); again != first {
		t.Errorf("writing identical bytes moved the index from %d to %d", first, again)
	}
	second := b.set(path, "two")
	if second <= first {
		t.Errorf("a change moved the index from %d to %d, want a higher one", first, second)
	}
	if elsewhere := b.set(other, "one"); elsewhere <= second {
		t.Errorf("a later write elsewhere got index %d, want more than %d", elsewhere, second)
	}
	if got := b.read(path).Index; got != second {
		t.Errorf("the index reads as %d, want %d as the commit said", got, second)
	}
	flagged := b.commit(kv.Op{Verb: kv.Set, Path: path, Value: []byte("two"), Flags: 1})[path]
	if flagged <= second {
		t.Errorf("a change of flags alone moved the index from %d to %d, want a higher one", second, flagged)
	}
	both := b.commit(set(path, "three"), set(other, "three"))
	if len(both) != 2 || both[path] != both[other] || both[path] <= flagged {
		t.Errorf("one transaction gave the indexes %v, want the same one for both", both)
	}
}

func testCheckAndSet(t *testing.T, b bench) {
	path := b.path("a")
	b.refused(kv.ErrConflict, cas(path, "update of nothing", 1))
	b.wantsAbsent(path)

	created := b.commit(cas(path, "created", 0))[path]
	b.refused(kv.ErrConflict, cas(path, "created twice", 0))
	b.refused(kv.ErrConflict, cas(path, "created", 0)) // even with identical bytes
	b.wants(path, "created")

	updated := b.commit(cas(path, "updated", created))[path]
	b.refused(kv.ErrConflict, cas(path, "stale", created))
	b.refused(kv.ErrConflict, cas(path, "from the future", updated+1000000))
	b.wants(path, "updated")

	if same := b.commit(cas(path, "updated", updated))[path]; same != updated {
		t.Errorf("identical bytes moved the index from %d to %d", updated, same)
	}
}

func testChecks(t *testing.T, b bench) {
	there, missing := b.path("there"), b.path("missing")
	index := b.set(there, "x")
	tests := []struct {
		name  string
		op    kv.Op
		holds bool
	}{
		{"CheckAbsent of a missing entry", kv.Op{Verb: kv.CheckAbsent, Path: missing}, true},
		{"CheckAbsent of an entry", kv.Op{Verb: kv.CheckAbsent, Path: there}, false},
		{"CheckIndex that is right", kv.Op{Verb: kv.CheckIndex, Path: there, Index: index}, true},
		{"CheckIndex that is stale", kv.Op{Verb: kv.CheckIndex, Path: there, Index: index - 1}, false},
		{"CheckIndex 0 of an entry", kv.Op{Verb: kv.CheckIndex, Path: there}, false},
		{"CheckIndex of a missing entry", kv.Op{Verb: kv.CheckIndex, Path: missing, Index: index}, false},
		{"CheckIndex 0 of a missing entry", kv.Op{Verb: kv.CheckIndex, Path: missing}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := bench{t: t, store: b.store, prefix: b.prefix}
			guarded := b.path(kv.NewID())
			write := set(guarded, "y")
			if !test.holds {
				b.refused(kv.ErrConflict, test.op)
				b.refused(kv.ErrConflict, test.op, write)
				b.wantsAbsent(guarded)
				return
			}
			if indexes := b.commit(test.op); len(indexes) != 0 {
				t.Errorf("a check alone returns %v, want nothing written", indexes)
			}
			if indexes := b.commit(test.op, write); len(indexes) != 1 || indexes[guarded] == 0 {
				t.Errorf("a check and a write return %v, want the written path alone", indexes)
			}
			b.wants(guarded, "y")
		})
	}
	b.wantsAbsent(missing)
	if got := b.read(there).Index; got != index {
		t.Errorf("checks moved the index from %d to %d", index, got)
	}
}

func testAllOrNone(t *testing.T, b bench) {
	changed, gone, created, checked := b.path("changed"), b.path("gone"), b.path("created"), b.path("checked")
	b.set(changed, "old")
	b.set(gone, "old")
	before := b.set(checked, "old")
	b.refused(kv.ErrConflict, set(changed, "new"), del(gone), cas(created, "new", 0), cas(checked, "new", before-1))
	b.wants(changed, "old")
	b.wants(gone, "old")
	b.wants(checked, "old")
	b.wantsAbsent(created)

	if indexes := b.commit(); len(indexes) != 0 {
		t.Errorf("a commit of nothing returns %v", indexes)
	}
}

// testOrder: each step sees what the steps before it did.
func testOrder(t *testing.T, b bench) {
	path := b.path("a")
	absent := kv.Op{Verb: kv.CheckAbsent, Path: path}
	b.commit(absent, set(path, "one"), set(path, "two"))
	b.wants(path, "two")
	b.refused(kv.ErrConflict, set(path, "three"), cas(path, "four", b.read(path).Index))
	b.wants(path, "two")

	indexes := b.commit(del(path), absent, cas(path, "five", 0))
	if indexes[path] == 0 || indexes[path] != b.read(path).Index {
		t.Errorf("delete and create return %v, want the index %d", indexes, b.read(path).Index)
	}
	b.wants(path, "five")

	if indexes = b.commit(set(path, "six"), del(path)); len(indexes) != 0 {
		t.Errorf("write and delete return %v, want nothing: no entry is left", indexes)
	}
	b.wantsAbsent(path)
}

func testDelete(t *testing.T, b bench) {
	path, missing := b.path("a"), b.path("missing")
	first := b.set(path, "x")
	if indexes := b.commit(del(path), del(missing)); len(indexes) != 0 {
		t.Errorf("deleting returns %v, want no index", indexes)
	}
	b.wantsAbsent(path)
	b.wantsAbsent(missing)
	keys, err := b.store.Keys(t.Context(), b.prefix)
	if err != nil || len(keys) != 0 {
		t.Errorf("keys after deleting are %q and %v, want none", keys, err)
	}

	b.refused(kv.ErrConflict, cas(path, "x", first))
	if again := b.commit(cas(path, "x", 0))[path]; again <= first {
		t.Errorf("the same bytes after a delete have index %d, want more than %d", again, first)
	}
	b.wants(path, "x")
}
