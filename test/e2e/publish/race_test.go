package publish

import (
	"fmt"
	"sync"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/test/e2e"
)

// Fifty publishers of fifty contents at once, on real Consul: each content gets a
// version of its own, without a gap, and the last one is what nodes get.
func TestFiftyPublishersAtOnce(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	for round := range e2e.Times(10) {
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			race(t, newLedger(t, s.On(t), kv.Key(fmt.Sprintf("small-%d", round))), m, 2_000, 50)
			// The history of large ones goes ahead of them, in a transaction of its
			// own. With a new key, one that lost leaves an entry that others take for
			// a past version, and go on from: so version 1 is there.
			l := newLedger(t, s.On(t), kv.Key(fmt.Sprintf("large-%d", round)))
			l.publish(newPublisher(t, l.s), e2e.Text("first", 20))
			race(t, l, m, kv.MaxStored, 10+e2e.Times(40))
		})
	}
}

func race(t *testing.T, l *ledger, m *e2e.Machine, size, crowd int) {
	first := len(l.sums)
	var wg sync.WaitGroup
	for i := range crowd {
		p := newPublisher(t, l.s) // a client of its own
		wg.Go(func() { l.publish(p, e2e.Noise(size, uint64(i))) })
	}
	wg.Wait()
	if len(l.sums) != first+crowd {
		t.Errorf("%d versions were given to %d publishers", len(l.sums)-first, crowd)
	}
	l.check(t)
	m.Ok("out", "-k", string(l.key), "-f", m.Path(string(l.key)))
	if got := e2e.Sum(m.Read(string(l.key))); got != l.sums[l.last()] {
		t.Errorf("a node gets %s, want %s", got, l.sums[l.last()])
	}
}
