package stores

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/kv"
)

// model is what a store holds, by path below the prefix, as package kv promises it.
type model map[string]kv.Entry

// written is the index of a row that the transaction has changed, until the store tells it.
const written = math.MaxUint64

// apply returns the content after a transaction; false if one of its checks fails. Each step sees what the steps before it did.
// The same value and flags again change nothing.
func (m model) apply(ops []kv.Op) (model, bool) {
	m = maps.Clone(m)
	for _, op := range ops {
		old, there := m[op.Path]
		switch {
		case op.Verb == kv.CheckAbsent && there, op.Verb == kv.CheckIndex && (!there || old.Index != op.Index),
			op.Verb == kv.CheckAndSet && old.Index != op.Index:
			return nil, false
		case op.Verb == kv.Delete:
			delete(m, op.Path)
		case op.Verb == kv.Set || op.Verb == kv.CheckAndSet:
			if !there || old.Flags != op.Flags || !bytes.Equal(old.Value, op.Value) {
				m[op.Path] = kv.Entry{State: kv.Present, Value: op.Value, Flags: op.Flags, Index: written}
			}
		}
	}
	return m, true
}

// transaction makes up to four operations on few rows, most of whose checks hold.
func (b bench) transaction(random *rand.Rand, m model, last uint64) (ops []kv.Op) {
	paths := []string{"a", "a/x", "a/x/", "a/x/y", "ab", "b"}
	verbs := []kv.Verb{kv.Set, kv.CheckAndSet, kv.CheckIndex, kv.CheckAbsent, kv.Delete}
	values := []string{"", "one", "a line\n", `<b>"&'\u0000` + "\u2028", string(everyByte())}
	for range random.IntN(5) {
		op := kv.Op{Verb: verbs[random.IntN(len(verbs))], Path: b.path(paths[random.IntN(len(paths))])}
		if op.Verb == kv.Set || op.Verb == kv.CheckAndSet {
			op.Value = []byte(values[random.IntN(len(values))])
			op.Flags = []uint64{0, 0, 1, math.MaxUint64}[random.IntN(4)]
		}
		if op.Verb == kv.CheckAndSet || op.Verb == kv.CheckIndex {
			now := m[op.Path].Index
			op.Index = []uint64{now, now, now, now, max(now, 1) - 1, 1, last + 1_000_000}[random.IntN(7)]
		}
		ops = append(ops, op)
	}
	return ops
}

// testModel makes random transactions, and compares all answers with the model.
func testModel(t *testing.T, b bench) {
	for seed := range uint64(3) {
		b := bench{t: t, store: b.store, prefix: fmt.Sprintf("%s%d/", b.prefix, seed)}
		random := rand.New(rand.NewPCG(seed, 0))
		m, last, listed := model{}, uint64(0), b.list(0, 0).Index
		for step := range 60 {
			ops := b.transaction(random, m, last)
			next, holds := m.apply(ops)
			indexes, err := b.store.Commit(t.Context(), ops)
			if holds != (err == nil) || !holds && !errors.Is(err, kv.ErrConflict) {
				t.Fatalf("seed %d, step %d: %+v on %+v gives %v, and its checks hold: %t", seed, step, ops, m, err, holds)
			}
			changed := holds && !maps.EqualFunc(m, next, func(x, y kv.Entry) bool { return x.Index == y.Index })
			if holds {
				last = max(last, b.learn(next, ops, indexes, last))
				m = next
			}
			if listed = b.agrees(m, listed, changed); t.Failed() {
				t.Fatalf("seed %d, step %d: after %+v, the store has to hold %+v", seed, step, ops, m)
			}
		}
	}
}

// learn takes the index of a transaction from its answer into the model, and returns it; 0 if nothing was written. The answer names
// each path that was written and is still there. All changed rows have one index, higher than any before.
func (b bench) learn(m model, ops []kv.Op, indexes map[string]uint64, last uint64) (index uint64) {
	b.t.Helper()
	want := map[string]uint64{}
	for _, op := range ops {
		if e, there := m[op.Path]; there && (op.Verb == kv.Set || op.Verb == kv.CheckAndSet) {
			if want[op.Path] = e.Index; e.Index == written {
				index = indexes[op.Path]
			}
		} else if op.Verb == kv.Delete {
			delete(want, op.Path)
		}
	}
	for path, e := range m {
		if e.Index == written {
			e.Index = index
			m[path] = e
			want[path] = index
			if index <= last {
				b.t.Errorf("%s has index %d, and one before was %d", path, index, last)
			}
		}
	}
	if !maps.Equal(indexes, want) {
		b.t.Errorf("the answer names %v, want %v", indexes, want)
	}
	return index
}

// agrees compares reads of rows, trees, lists and names with the model, and returns the index of the list, which grows with each
// change.
func (b bench) agrees(m model, listed uint64, changed bool) uint64 {
	b.t.Helper()
	missing, row, tree := b.path("missing"), b.path("a"), b.path("a/")
	want := model{missing: {State: kv.Absent}, row: {State: kv.Absent}}
	var rows []kv.Row
	for _, path := range slices.Sorted(maps.Keys(m)) {
		rows = append(rows, kv.Row{Path: path, Entry: m[path]})
		if path == row || strings.HasPrefix(path, tree) {
			want[path] = m[path]
		}
	}
	snap, err := b.store.Read(b.t.Context(), kv.Consistent, row, tree, missing)
	if err != nil || !maps.EqualFunc(model(snap), want, sameEntry) {
		b.t.Errorf("a read of a row and a tree gives %+v and %v, want %+v", snap, err, want)
	}
	list := b.list(0, 0)
	if !slices.EqualFunc(list.Rows, rows, func(x, y kv.Row) bool { return x.Path == y.Path && sameEntry(x.Entry, y.Entry) }) {
		b.t.Errorf("the list is %+v, want %+v", list.Rows, rows)
	}
	if list.Index < listed || changed && list.Index == listed {
		b.t.Errorf("the index of the list went from %d to %d; something changed: %t", listed, list.Index, changed)
	}
	for _, prefix := range []string{b.prefix, row, tree} { // row is a prefix, not a folder
		var names, level []string
		for _, r := range rows {
			if rest, below := strings.CutPrefix(r.Path, prefix); below {
				names = append(names, r.Path)
				before, _, deeper := strings.Cut(rest, "/")
				if deeper {
					before += "/"
				}
				level = append(level, prefix+before)
			}
		}
		keys, err := b.store.Keys(b.t.Context(), prefix)
		if err != nil || !slices.Equal(keys, names) {
			b.t.Errorf("the keys of %s are %q and %v, want %q", prefix, keys, err, names)
		}
		if prefix == row {
			continue
		}
		if keys, err = b.store.Level(b.t.Context(), prefix); err != nil || !slices.Equal(keys, slices.Compact(level)) {
			b.t.Errorf("one level of %s is %q and %v, want %q", prefix, keys, err, level)
		}
	}
	return list.Index
}

func sameEntry(x, y kv.Entry) bool {
	return x.State == y.State && x.Flags == y.Flags && x.Index == y.Index && bytes.Equal(x.Value, y.Value)
}
