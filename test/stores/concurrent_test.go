package stores

import (
	"errors"
	"fmt"
	"strconv"
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
		var winner, wins atomic.Int64
		var group sync.WaitGroup
		for writer := range writers {
			group.Go(func() {
				value := fmt.Sprintf("round %d, writer %d", round, writer)
				_, err := b.store.Commit(t.Context(), []kv.Op{cas(path, value, index)})
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

// testSnapshots: the rows of one Read are one snapshot, with a tree and without, while a writer
// changes them together.
func testSnapshots(t *testing.T, b bench) {
	const changes = 100
	one, two, tree := b.path("one"), b.path("t/two"), b.path("t/")
	written := start(b, func() (n int, err error) {
		for ; n < changes && err == nil; n++ {
			_, err = b.store.Commit(t.Context(), []kv.Op{set(one, strconv.Itoa(n)), set(two, strconv.Itoa(n))})
		}
		return n, err
	})
	for i := 0; ; i++ {
		snap, err := b.store.Read(t.Context(), kv.Default, one, []string{two, tree}[i%2])
		if a, c := string(snap[one].Value), string(snap[two].Value); err != nil || a != c {
			t.Fatalf("one read returns %q and %q, want the same: %v", a, c, err)
		}
		select {
		case a := <-written:
			if a.err != nil {
				t.Errorf("after %d changes: %v", a.got, a.err)
			}
			return
		default:
		}
	}
}
