// Package storetest is the one suite that every kv.Store must pass. It asks
// only what package kv promises, and writes only below random prefixes, so
// that a real, shared store can be put to it. Of this module it imports kv
// alone.
package storetest

import (
	"errors"
	"testing"

	"kvexpress/internal/kv"
)

// Run puts the store that open returns to the whole suite. Each part of it
// opens the store anew; it may be the same one each time, and need not be
// empty. A store that can wait for changes must show it by implementing
// kv.Watcher; without that, the part Watch is reported as skipped. Put is asked of
// those that implement kv.Putter.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	parts := []part{
		{"Read/States", testReadStates},
		{"Read/Values", testValues},
		{"Read/Limit", testReadLimit},
		{"Read/ConsistencyModes", testConsistency},
		{"Keys", testKeys},
		{"List", testList},
		{"List/All", testListAll},
		{"List/Waits", testListWaits},
		{"List/Empty", testListEmpty},
		{"Index", testIndex},
		{"CheckAndSet", testCheckAndSet},
		{"Checks", testChecks},
		{"AllOrNone", testAllOrNone},
		{"Order", testOrder},
		{"Delete", testDelete},
		{"Limit/Ops", testOpsLimit},
		{"Limit/LargestPublish", testLargestPublish},
		{"Limit/TooLarge", testTooLarge},
		{"BadRequest", testBadRequest},
		{"Concurrent/OneWinner", testOneWinner},
		{"Concurrent/Snapshots", testSnapshots},
		{"Context", testContext},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			part.test(t, bench{t: t, store: open(t), prefix: "storetest/" + kv.NewID() + "/"})
		})
	}
	if _, ok := open(t).(kv.Putter); ok {
		t.Run("Put", func(t *testing.T) { testPut(t, bench{t: t, store: open(t), prefix: "storetest/" + kv.NewID() + "/"}) })
	}
	if _, ok := open(t).(kv.Watcher); !ok {
		t.Log("it cannot wait for changes, and so is not asked to") // as a decorator
		return
	}
	t.Run("Watch", func(t *testing.T) {
		for _, part := range watchParts() {
			t.Run(part.name, func(t *testing.T) {
				store := open(t)
				watcher, ok := store.(kv.Watcher)
				if !ok {
					t.Fatalf("%T does not implement kv.Watcher, as the store before did", store)
				}
				part.test(t, bench{t: t, store: store, watcher: watcher, prefix: "storetest/" + kv.NewID() + "/"})
			})
		}
	})
}

// part is one test of the suite.
type part struct {
	name string
	test func(*testing.T, bench)
}

// bench is one part's store, with a prefix of its own.
type bench struct {
	t       *testing.T
	store   kv.Store
	watcher kv.Watcher // the same store; nil outside of the Watch part
	prefix  string
}

// path is a path that no other part uses.
func (b bench) path(name string) string { return b.prefix + name }

// commit applies ops and must succeed.
func (b bench) commit(ops ...kv.Op) map[string]uint64 {
	b.t.Helper()
	indexes, err := b.store.Commit(b.t.Context(), ops)
	if err != nil {
		b.t.Fatalf("commit: %v", err)
	}
	return indexes
}

// set writes one value and returns its index.
func (b bench) set(path, value string) uint64 {
	b.t.Helper()
	return b.commit(kv.Op{Verb: kv.Set, Path: path, Value: []byte(value)})[path]
}

// refused applies ops and must fail with kind.
func (b bench) refused(kind error, ops ...kv.Op) {
	b.t.Helper()
	if _, err := b.store.Commit(b.t.Context(), ops); !errors.Is(err, kind) {
		b.t.Errorf("commit gives %v, want %v", err, kind)
	}
}

// read returns one entry as the leader knows it.
func (b bench) read(path string) kv.Entry {
	b.t.Helper()
	snap, err := b.store.Read(b.t.Context(), kv.Consistent, path)
	if err != nil {
		b.t.Fatalf("read: %v", err)
	}
	return snap[path]
}

// wants compares what stands at path with a value.
func (b bench) wants(path, value string) {
	b.t.Helper()
	if e := b.read(path); e.State != kv.Present || string(e.Value) != value {
		b.t.Errorf("%s has state %d and value %.40q, want present and %.40q", path, e.State, e.Value, value)
	}
}

// wantsAbsent makes sure that nothing stands at path.
func (b bench) wantsAbsent(path string) {
	b.t.Helper()
	if e := b.read(path); e.State != kv.Absent || e.Index != 0 {
		b.t.Errorf("%s has state %d and index %d, want absent and 0", path, e.State, e.Index)
	}
}
