package fleet

import (
	"cmp"
	"slices"
	"time"
)

// tolerance is how far a clock may be from the store's before it is named and left out
// of the times of deliveries. Within it a clock is taken as it is: the store tells its
// time in whole seconds, which would blur deliveries of 100 ms.
const tolerance = 2 * time.Second

// skew is by how much a clock is ahead of the store's, by what its machine measured; 0
// within the tolerance, or if it is not known.
func skew(offset *int64) time.Duration {
	if offset == nil {
		return 0
	}
	most := century.Milliseconds() // the offset may come from anybody
	d := time.Duration(min(max(*offset, -most), most)) * time.Millisecond
	if d.Abs() <= tolerance {
		return 0
	}
	return d
}

// byStore is the reading of a clock as the store's clock would have shown it.
func byStore(at time.Time, offset *int64) time.Time { return at.Add(-skew(offset)) }

// off is by how much a clock was ahead that showed this time: by what its machine
// measured, or because the time has yet to come.
func (s scene) off(at time.Time, offset *int64) time.Duration {
	if d := skew(offset); d != 0 {
		return d
	}
	if ahead := at.Sub(s.now); ahead > tolerance {
		return ahead
	}
	return 0
}

// order are the receipts, and what stands, in the order in which the store took them. It knows what no
// machine can measure if its store has the same wrong clock, as a Consul agent of its own
// has: a receipt was not sent before what the store had already.
type order []taken

type taken struct {
	index  uint64
	latest time.Time // when the last one up to this was sent
}

func newOrder(nodes []Node, standing Standing, now time.Time) order {
	o := make(order, 0, len(nodes)+1)
	add := func(index uint64, at time.Time, offset *int64) {
		if at = byStore(at, offset); !at.After(now.Add(tolerance)) {
			o = append(o, taken{index, at})
		}
	}
	for _, n := range nodes {
		if n.Err == nil {
			add(n.Index, n.Receipt.Sent, n.Receipt.ClockOffset)
		}
	}
	if m := standing.Manifest; m != nil {
		add(standing.Index, m.PublishedAt, m.ClockOffset)
	}
	slices.SortFunc(o, func(a, b taken) int { return cmp.Compare(a.index, b.index) })
	for i := range o[min(1, len(o)):] {
		if o[i].latest.After(o[i+1].latest) {
			o[i+1].latest = o[i].latest
		}
	}
	return o
}

// sent is when a write of the store was sent, at least.
func (o order) sent(index uint64, at time.Time) time.Time {
	i, _ := slices.BinarySearchFunc(o, index, func(t taken, index uint64) int { return cmp.Compare(t.index, index) })
	if i > 0 && o[i-1].latest.After(at) {
		return o[i-1].latest
	}
	return at
}
