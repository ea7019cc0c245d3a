// Package stores is the one suite that every kv.Store passes: in memory, with retries, through the embedded store's API, and
// a real Consul. It tests only what package kv promises. It writes only below random prefixes, because parts share a store.
package stores

import (
	"context"
	"errors"
	"testing"
	"time"

	"kvexpress/internal/kv"
)

// suite runs all parts on the store that open returns, which may be the same one each time. A store that implements
// kv.Watcher or kv.Pulser is tested for that too.
func suite(t *testing.T, open func(t *testing.T) kv.Store) {
	run := func(t *testing.T, parts ...part) {
		for _, part := range parts {
			t.Run(part.name, func(t *testing.T) {
				b := bench{t: t, store: open(t), prefix: "storetest/" + kv.NewID() + "/"}
				b.watcher, _ = b.store.(kv.Watcher)
				b.pulser, _ = b.store.(kv.Pulser)
				part.test(t, b)
			})
		}
	}
	run(t,
		part{"Model", testModel},
		part{"Read/States", testReadStates},
		part{"Read/Limit", testReadLimit},
		part{"Read/Tree", testReadTree},
		part{"List/All", testListAll},
		part{"List/Waits", testListWaits},
		part{"Limit/Ops", testOpsLimit},
		part{"Limit/LargestPublish", testLargestPublish},
		part{"Limit/TooLarge", testTooLarge},
		part{"Put", testPut},
		part{"BadRequest", testBadRequest},
		part{"Context", testContext},
		part{"Concurrent/OneWinner", testOneWinner},
		part{"Concurrent/Snapshots", testSnapshots},
	)
	if _, ok := open(t).(kv.Watcher); ok {
		t.Run("Watch", func(t *testing.T) {
			run(t,
				part{"AtOnce", testWatchAtOnce},
				part{"Wakes", testWatchWakes},
				part{"RunsOut", testWatchRunsOut},
				part{"Identical", testWatchIdentical},
				part{"Unrelated", testWatchUnrelated},
				part{"Follow", testWatchFollow},
				part{"Context", testWatchContext},
				part{"LongestWait", testWatchLongestWait},
			)
		})
	}
	if _, ok := open(t).(kv.Pulser); ok {
		t.Run("Pulse", func(t *testing.T) { run(t, pulseParts()...) })
	}
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
	watcher kv.Watcher // the same store; nil if it is none
	pulser  kv.Pulser  // the same store; nil if it is none
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

func set(path, value string) kv.Op { return kv.Op{Verb: kv.Set, Path: path, Value: []byte(value)} }

func cas(path, value string, index uint64) kv.Op {
	return kv.Op{Verb: kv.CheckAndSet, Path: path, Value: []byte(value), Index: index}
}

func del(path string) kv.Op { return kv.Op{Verb: kv.Delete, Path: path} }

// set writes one value and returns its index.
func (b bench) set(path, value string) uint64 {
	b.t.Helper()
	return b.commit(set(path, value))[path]
}

// remove deletes one row.
func (b bench) remove(path string) {
	b.t.Helper()
	b.commit(del(path))
}

// refused applies ops and must fail with kind.
func (b bench) refused(kind error, ops ...kv.Op) {
	b.t.Helper()
	if _, err := b.store.Commit(b.t.Context(), ops); !errors.Is(err, kind) {
		b.t.Errorf("commit gives %v, want %v", err, kind)
	}
}

// read returns one entry as the leader has it.
func (b bench) read(path string) kv.Entry {
	b.t.Helper()
	snap, err := b.store.Read(b.t.Context(), kv.Consistent, path)
	if err != nil {
		b.t.Fatalf("read: %v", err)
	}
	return snap[path]
}

// wants compares the entry at path with a value.
func (b bench) wants(path, value string) {
	b.t.Helper()
	if e := b.read(path); e.State != kv.Present || string(e.Value) != value {
		b.t.Errorf("%s has state %d and value %.40q, want present and %.40q", path, e.State, e.Value, value)
	}
}

// wantsAbsent fails the test unless path has no entry.
func (b bench) wantsAbsent(path string) {
	b.t.Helper()
	if e := b.read(path); e.State != kv.Absent || e.Index != 0 {
		b.t.Errorf("%s has state %d and index %d, want absent and 0", path, e.State, e.Index)
	}
}

// requests makes each kind of request about a path, and returns the errors.
func (b bench) requests(ctx context.Context, path string) map[string]error {
	_, read := b.store.Read(ctx, kv.Default, b.path("read"), path)
	_, commit := b.store.Commit(ctx, []kv.Op{{Verb: kv.Set, Path: b.path("commit")}, {Verb: kv.Set, Path: path}})
	_, keys := b.store.Keys(ctx, path)
	_, list := b.store.List(ctx, kv.Default, path, 0, 0)
	put := b.store.Put(ctx, path, []byte("x"), 0)
	all := map[string]error{"Read": read, "Commit": commit, "Keys": keys, "List": list, "Put": put}
	if b.watcher != nil {
		_, all["Watch"] = b.watcher.Watch(ctx, path, 0, short)
	}
	if b.pulser != nil {
		_, all["Pulse"] = b.pulser.Pulse(ctx, path, 0, short)
	}
	return all
}

func testBadRequest(t *testing.T, b bench) {
	path := b.path("a")
	write := kv.Op{Verb: kv.Set, Path: path}
	b.refused(kv.ErrRequest, write, kv.Op{Path: b.path("no verb")})
	b.refused(kv.ErrRequest, write, kv.Op{Verb: "get", Path: b.path("unknown verb")})
	b.wantsAbsent(path)
	for _, bad := range []string{"", b.path("not UTF-8 \xff")} {
		for name, err := range b.requests(t.Context(), bad) {
			valid := name == "Keys" || name == "List" && bad == "" // keys of any prefix, a list of all
			if !valid && !errors.Is(err, kv.ErrRequest) {
				t.Errorf("%s of the path %q gives %v, want ErrRequest", name, bad, err)
			}
		}
	}
	b.wantsAbsent(b.path("commit"))
}

// testContext: no request is sent after its context has ended.
func testContext(t *testing.T, b bench) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, err := range b.requests(ended, b.path("a")) {
		if !errors.Is(err, context.Canceled) || !errors.Is(err, kv.ErrUnreachable) {
			t.Errorf("%s gives %v, want context.Canceled and ErrUnreachable", name, err)
		}
	}
	b.wantsAbsent(b.path("a"))
}

const (
	// patience is for a store to answer on a busy machine. It is shorter than kv.MaxWait, so that
	// a watch that ran out is not taken for one that woke.
	patience = 30 * time.Second
	// still is how long a watch must stay blocked.
	still = 150 * time.Millisecond
	// short is the wait of a watch that must run out.
	short = 100 * time.Millisecond
)

// answer is how a request that waits ended.
type answer[T any] struct {
	got T
	err error
}

// start sends a request that waits beside the test.
func start[T any](b bench, request func() (T, error)) <-chan answer[T] {
	result := make(chan answer[T], 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		got, err := request()
		result <- answer[T]{got, err}
	}()
	b.t.Cleanup(func() { <-done }) // the test's context has ended then
	return result
}

// blocked fails the test if a request that waits has been answered.
func blocked[T any](b bench, result <-chan answer[T], why string) {
	b.t.Helper()
	select {
	case a := <-result:
		b.t.Fatalf("%s, and the store answers %+v and %v; want it to go on waiting", why, a.got, a.err)
	case <-time.After(still):
	}
}

// answered waits for an answer, which must come before its time is up.
func answered[T any](b bench, result <-chan answer[T]) (T, error) {
	b.t.Helper()
	select {
	case a := <-result:
		return a.got, a.err
	case <-time.After(patience):
		b.t.Fatalf("no answer within %s: the change did not wake it", patience)
		return answer[T]{}.got, nil
	}
}

// wantsEntry compares an answer with a value and its index.
func (b bench) wantsEntry(got kv.Entry, value string, index uint64) {
	b.t.Helper()
	if got.State != kv.Present || string(got.Value) != value || got.Index != index {
		b.t.Errorf("the watch returned state %d, value %.40q and index %d, want present, %.40q and %d",
			got.State, got.Value, got.Index, value, index)
	}
}

// wantsNone compares an answer with the absence of an entry, at a higher index.
func (b bench) wantsNone(got kv.Entry, above uint64) {
	b.t.Helper()
	if got.State != kv.Absent || got.Index <= above {
		b.t.Errorf("the watch returned state %d, value %.40q and index %d, want absent and more than %d",
			got.State, got.Value, got.Index, above)
	}
}
