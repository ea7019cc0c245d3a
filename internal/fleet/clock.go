package fleet

import (
	"cmp"
	"slices"
	"time"
)

// tolerance is how far off the store's clock a clock can be before it is listed, and not used for
// delivery times. Within it no clock is corrected: the store gives its time in whole seconds, which
// would blur deliveries of 100 ms.
const tolerance = 2 * time.Second

// skew is by how much a clock is ahead of the store's, as its machine measured; 0 within the
// tolerance, or if unknown.
func skew(offset *int64) time.Duration {
	if offset == nil {
		return 0
	}
	most := century.Milliseconds() // any program can write a receipt
	d := time.Duration(min(max(*offset, -most), most)) * time.Millisecond
	if d.Abs() <= tolerance {
		return 0
	}
	return d
}

// byStore converts the reading of a clock to the store's clock.
func byStore(at time.Time, offset *int64) time.Time { return at.Add(-skew(offset)) }

// off is by how much the clock that showed this time was ahead: as its machine measured, or because
// the time is in the future.
func (s scene) off(at time.Time, offset *int64) time.Duration {
	if d := skew(offset); d != 0 {
		return d
	}
	if ahead := at.Sub(s.now); ahead > tolerance {
		return ahead
	}
	return 0
}

// order is the receipts and the live version in the order of the store's writes. A receipt was not
// sent before the writes that the store had already. This finds a wrong clock that the machine
// itself cannot measure, because its local Consul agent has the same clock.
type order []write

type write struct {
	index  uint64
	latest time.Time // when the latest write up to this one was sent
}

func newOrder(nodes []Node, live Live, now time.Time) order {
	o := make(order, 0, len(nodes)+1)
	add := func(index uint64, at time.Time, offset *int64) {
		if at = byStore(at, offset); !at.After(now.Add(tolerance)) {
			o = append(o, write{index, at})
		}
	}
	for _, n := range nodes {
		if n.Err == nil {
			add(n.Index, n.Receipt.Sent, n.Receipt.ClockOffset)
		}
	}
	if m := live.Manifest; m != nil {
		add(live.Index, m.PublishedAt, m.ClockOffset)
	}
	slices.SortFunc(o, func(a, b write) int { return cmp.Compare(a.index, b.index) })
	for i := range o[min(1, len(o)):] {
		if o[i].latest.After(o[i+1].latest) {
			o[i+1].latest = o[i].latest
		}
	}
	return o
}

// sent is the earliest time at which a write was sent.
func (o order) sent(index uint64, at time.Time) time.Time {
	i, _ := slices.BinarySearchFunc(o, index, func(t write, index uint64) int { return cmp.Compare(t.index, index) })
	if i > 0 && o[i-1].latest.After(at) {
		return o[i-1].latest
	}
	return at
}
