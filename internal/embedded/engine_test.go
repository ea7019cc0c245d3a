package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"kvexpress/internal/kv"
)

// journal is one in memory that can be held up and made to fail.
type journal struct {
	mu      sync.Mutex
	saved   Saved
	batches [][]Change
	fail    error
	begun   chan struct{} // not nil: receives when Append begins
	hold    chan struct{} // not nil: Append waits for it
	closed  bool
}

func (j *journal) Load(saved *Saved) error { *saved = j.saved; return nil }

func (j *journal) Append(changes []Change) error {
	if j.hold != nil {
		j.begun <- struct{}{}
		<-j.hold
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	j.batches = append(j.batches, slices.Clone(changes))
	return nil
}

func (j *journal) Close() error { j.closed = true; return nil }

func open(t *testing.T, j *journal) *Engine {
	t.Helper()
	e, err := Open(Options{Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// write sets or deletes a row.
func (e *Engine) write(verb kv.Verb, path, value string) error {
	_, _, err := e.Txn(context.Background(), []kv.Op{{Verb: verb, Path: path, Value: []byte(value)}})
	return err
}

func put(t *testing.T, e *Engine, path, value string) {
	t.Helper()
	if err := e.write(kv.Set, path, value); err != nil {
		t.Fatal(err)
	}
}

// A write is not visible before it is durable: not to a reader, and not to a blocking query.
func TestNotSeenBeforeDurable(t *testing.T) {
	j := &journal{begun: make(chan struct{}), hold: make(chan struct{})}
	e := open(t, j)
	rung := e.View().changed(Topic{Path: "a"})
	done := make(chan error, 1)
	go func() { done <- e.write(kv.Set, "a", "") }()
	<-j.begun
	if row := e.View().Get("a"); row != nil {
		t.Errorf("before it is durable, a view shows %+v", row)
	}
	select {
	case <-rung:
		t.Error("before it is durable, it wakes")
	case err := <-done:
		t.Errorf("before it is durable, it is acknowledged with %v", err)
	default:
	}
	j.hold <- struct{}{}
	<-rung
	if err := <-done; err != nil || e.View().Get("a") == nil {
		t.Errorf("written with %v, and a view shows %v", err, e.View().Get("a"))
	}
}

// Writes that arrive during a commit are committed together as the next batch, each with its own index.
func TestGroupCommit(t *testing.T) {
	const writers = 40
	j := &journal{begun: make(chan struct{}), hold: make(chan struct{})}
	e := open(t, j)
	var group sync.WaitGroup
	begin := func(n int) {
		group.Go(func() {
			if err := e.write(kv.Set, fmt.Sprint(n), ""); err != nil {
				t.Error(err)
			}
		})
	}
	begin(0)
	<-j.begun
	for n := range writers {
		begin(n + 1)
	}
	for queued := 0; queued < writers; {
		e.mu.Lock()
		queued = len(e.queue)
		e.mu.Unlock()
	}
	j.hold <- struct{}{}
	<-j.begun
	j.hold <- struct{}{}
	group.Wait()
	if len(j.batches) != 2 || len(j.batches[0]) != 1 || len(j.batches[1]) != writers {
		t.Fatalf("%d batches, want one of 1 and one of %d", len(j.batches), writers)
	}
	last := uint64(0)
	for _, change := range slices.Concat(j.batches...) {
		if change.Index <= last || len(change.Rows) != 1 || change.Rows[0].ModifyIndex != change.Index {
			t.Errorf("after index %d comes %+v", last, change)
		}
		last = change.Index
	}
}

// A batch that was not written leaves no trace, and the next one is accepted. After an unknown outcome
// the engine refuses writes, and acknowledged writes are still there.
func TestFailedWrites(t *testing.T) {
	j := &journal{}
	told := 0
	e, err := Open(Options{Journal: j, Broken: func(error) { told++ }})
	if err != nil {
		t.Fatal(err)
	}
	put(t, e, "a", "1")
	before := e.View().Get("a")

	j.fail = fmt.Errorf("%w: the disk is full", ErrNotWritten)
	if err := e.write(kv.Set, "a", "2"); !errors.Is(err, ErrNotWritten) {
		t.Errorf("on a full disk, a write gives %v", err)
	}
	if got := e.View().Get("a"); got != before {
		t.Errorf("after a write that was not made, a view shows %+v", got)
	}
	j.fail = nil
	put(t, e, "a", "3")
	if err := e.Healthy(); err != nil || told != 0 {
		t.Errorf("after a full disk it is %v, and told %d times", err, told)
	}

	j.fail = errors.New("fsync: input/output error")
	if err = e.write(kv.Set, "a", "4"); !errors.Is(err, ErrUnknown) || errors.Is(err, ErrNotWritten) {
		t.Errorf("after a failed fsync, a write gives %v, want ErrUnknown", err)
	}
	j.fail = nil
	if err := e.write(kv.Set, "b", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("after an unknown outcome, a write gives %v, want ErrClosed", err)
	}
	if err := e.Healthy(); !errors.Is(err, ErrClosed) || told != 1 {
		t.Errorf("after an unknown outcome it is %v, and told %d times", err, told)
	}
	if got := e.View().Get("a"); string(got.Value) != "3" || len(j.batches) != 2 {
		t.Errorf("a view shows %s, and %d batches were written", got.Value, len(j.batches))
	}
	if err := e.Close(); err != nil || !j.closed {
		t.Errorf("close gives %v, journal closed: %v", err, j.closed)
	}
}

// A failed transaction changes nothing, and reports all failures.
func TestFailedTransaction(t *testing.T) {
	j := &journal{}
	e := open(t, j)
	put(t, e, "a", "1")
	_, failed, err := e.Txn(t.Context(), []kv.Op{
		{Verb: kv.Set, Path: "b"}, {Verb: kv.CheckAndSet, Path: "a", Index: 99}, {Verb: kv.CheckAbsent, Path: "a"},
	})
	want := []OpError{{1, `failed to set key "a", index is stale`}, {2, `key "a" exists`}}
	if err != nil || !slices.Equal(failed, want) {
		t.Errorf("failed with %+v and %v, want %+v", failed, err, want)
	}
	if e.View().Get("b") != nil || len(j.batches) != 1 {
		t.Error("a failed transaction wrote something")
	}
}

// A closed engine refuses writes, and closes the journal after the last one.
func TestClose(t *testing.T) {
	j := &journal{}
	e := open(t, j)
	put(t, e, "a", "1")
	if err := e.Close(); err != nil || !j.closed {
		t.Errorf("close gives %v, journal closed: %v", err, j.closed)
	}
	if err := e.write(kv.Set, "a", ""); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after close gives %v", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("the second close gives %v", err)
	}
}

// replay returns a journal with the batches applied.
func (j *journal) replay() *journal {
	rows := map[string]*Row{}
	var saved Saved
	for _, change := range slices.Concat(j.batches...) {
		saved.Index = change.Index
		for _, row := range change.Rows {
			rows[row.Path] = row
		}
		for _, path := range change.Deleted {
			delete(rows, path)
			saved.Deletion = change.Index
		}
	}
	saved.Rows = slices.Collect(maps.Values(rows))
	return &journal{saved: saved}
}

// A reopened store has the same rows and indexes. The index of a list does not fall if its newest row is deleted.
func TestReopened(t *testing.T) {
	j := &journal{}
	e := open(t, j)
	put(t, e, "a/1", "x")
	put(t, e, "b/1", "z")
	put(t, e, "a/2", "y")
	before := e.View().Index(Topic{"a/", true})
	put(t, e, "c", "x")
	if err := errors.Join(e.write(kv.Delete, "a/2", ""), e.DeleteTree(t.Context(), "c"), e.write(kv.Delete, "none", "")); err != nil {
		t.Fatal(err)
	}
	if got := e.View().Index(Topic{"a/", true}); got <= before {
		t.Errorf("after a deletion the index of a list is %d, was %d", got, before)
	}
	again := open(t, j.replay())
	defer func() { _ = again.Close() }()
	for _, prefix := range []string{"", "a/", "a/2", "b/", "c", "none"} {
		if got, want := again.View().Index(Topic{prefix, true}), e.View().Index(Topic{prefix, true}); got != want {
			t.Errorf("below %q the index is %d, was %d", prefix, got, want)
		}
		got, want := slices.Collect(again.View().List(prefix)), slices.Collect(e.View().List(prefix))
		if !slices.Equal(got, want) {
			t.Errorf("below %q there is %v, was %v", prefix, got, want)
		}
	}
	last := again.View().s.index
	put(t, again, "d", "")
	if got := again.View().Get("d").ModifyIndex; got != last+1 || last != e.View().s.index {
		t.Errorf("the first write has index %d, want the one after %d", got, e.View().s.index)
	}
}
