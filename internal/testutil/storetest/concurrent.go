package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"kvexpress/internal/kv"
)

// testOneWinner: of several writers that start from one index, exactly one
// gets through, round after round.
func testOneWinner(t *testing.T, b bench) {
	const writers, rounds = 8, 10
	path := b.path("a")
	index := uint64(0)
	for round := range rounds {
		var winner atomic.Int64
		var wins atomic.Int64
		var group sync.WaitGroup
		for writer := range writers {
			group.Go(func() {
				_, err := b.store.Commit(t.Context(), []kv.Op{{
					Verb: kv.CheckAndSet, Path: path, Index: index,
					Value: fmt.Appendf(nil, "round %d, writer %d", round, writer),
				}})
				switch {
				case err == nil:
					wins.Add(1)
					winner.Store(int64(writer))
				case !errors.Is(err, kv.ErrConflict):
					t.Errorf("a loser gets %v, want ErrConflict", err)
				}
			})
		}
		group.Wait()
		if wins.Load() != 1 {
			t.Fatalf("round %d has %d winners, want 1", round, wins.Load())
		}
		b.wants(path, fmt.Sprintf("round %d, writer %d", round, winner.Load()))
		index = b.read(path).Index
	}
}

// testSnapshots: the rows of one Read are one snapshot, while a writer
// changes them together.
func testSnapshots(t *testing.T, b bench) {
	const changes = 50
	one, two := b.path("one"), b.path("two")
	write := func(n int) error {
		value := fmt.Appendf(nil, "%d", n)
		_, err := b.store.Commit(t.Context(), []kv.Op{
			{Verb: kv.Set, Path: one, Value: value},
			{Verb: kv.Set, Path: two, Value: value},
		})
		return err
	}
	if err := write(0); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(done)
		for n := range changes {
			if err := write(n + 1); err != nil {
				t.Errorf("change %d: %v", n+1, err)
				return
			}
		}
	})
	defer group.Wait()
	for {
		snap, err := b.store.Read(t.Context(), kv.Default, one, two)
		if err != nil {
			t.Errorf("read: %v", err)
			return
		}
		if string(snap[one].Value) != string(snap[two].Value) {
			t.Errorf("one read returns %q and %q, want the same", snap[one].Value, snap[two].Value)
			return
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
