package fleet

import (
	"cmp"
	"slices"
	"time"
)

// ClockTolerance is how far off the store's clock a clock can be before it is listed, and not used for
// delivery times. Within it no clock is corrected: the store gives its time in whole seconds, which
// would blur deliveries of 100 ms.
const ClockTolerance = 2 * time.Second

// skew is by how much a clock is ahead of the store's, as its machine measured; 0 within the
// tolerance, or if unknown.
func skew(offset *int64) time.Duration {
	if offset == nil {
		return 0
	}
	most := century.Milliseconds() // any program can write a receipt
	d := time.Duration(min(max(*offset, -most), most)) * time.Millisecond
	if d.Abs() <= ClockTolerance {
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
	if ahead := at.Sub(s.now); ahead > ClockTolerance {
		return ahead
	}
	return 0
}

// order is the earliest time at which each write was sent, by its index. A receipt was not sent
// before the writes that the store had already. This finds a wrong clock that the machine itself
// cannot measure, because its local Consul agent has the same clock.
type order map[uint64]time.Time

func newOrder(nodes []Node, live Live, now time.Time) order {
	var all []*Node
	for i := range nodes {
		if nodes[i].Index != 0 { // else a hub has it, and has dated it
			all = append(all, &nodes[i])
		}
	}
	if m := live.Manifest; m != nil {
		all = append(all, &Node{Index: live.Index, Receipt: Receipt{Sent: m.PublishedAt, ClockOffset: m.ClockOffset}})
	}
	slices.SortFunc(all, func(a, b *Node) int { return cmp.Compare(a.Index, b.Index) })
	o, latest := make(order, len(all)), time.Time{}
	for _, n := range all {
		if at := byStore(n.Receipt.Sent, n.Receipt.ClockOffset); at.After(latest) && !at.After(now.Add(ClockTolerance)) {
			latest = at
		}
		o[n.Index] = latest
	}
	return o
}

// sent is the earliest time at which a write was sent, which its clock shows as at.
func (o order) sent(index uint64, at time.Time) time.Time {
	if o[index].After(at) {
		return o[index]
	}
	return at
}
