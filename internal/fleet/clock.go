package fleet

import (
	"cmp"
	"slices"
	"time"
)

// tolerance is by how much a clock may contradict the order of the store's writes
// before it is taken to be wrong: a receipt takes its time from its clock reading to
// the store, and clocks that are kept in step still differ a little.
const tolerance = 2 * time.Second

// moment is a write of which the store knows the place in the order of all writes,
// and a machine the time by its own clock.
type moment struct {
	index  uint64
	at     time.Time
	weight int // 0 counts as 1
}

// clock is what the times of many machines come to. The store gives every write a
// place in one order, so that clocks can be compared without trusting any: a clock
// is wrong if it contradicts those of the majority. That holds for the publisher and
// for the machine that asks, too.
type clock struct {
	sound []moment // that agree with each other, in the order of the store
	// certain: they are more than half of all, by weight. Otherwise nothing can be
	// said, as after a store was filled from a backup, in another order.
	certain bool
	// likely are, where clocks contradict each other, the moments to which more than
	// half of all would agree; all of them if nothing is certain. They need not agree
	// with each other. nil: there is no contradiction.
	likely []moment
	latest []time.Time // of each of them, and those before it
}

// newClock compares the clocks of all moments.
func newClock(all []moment) clock {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b moment) int {
		if a.index != b.index {
			return cmp.Compare(a.index, b.index)
		}
		return a.at.Compare(b.at)
	})
	c := clock{}
	for _, i := range longestRise(all) {
		c.sound = append(c.sound, all[i])
	}
	// What the longest rise left out may still be within tolerance of it: writes of
	// one moment overtake each other.
	weight, agreed := 0, 0
	for _, m := range all {
		weight += m.heft()
		if c.fits(m) {
			agreed += m.heft()
		}
	}
	c.certain = 2*agreed > weight
	if agreed < weight {
		c.doubt(all, weight)
	}
	return c
}

// doubt fills in likely and latest, from moments in the order of the store and the
// weight of all.
func (c *clock) doubt(all []moment, weight int) {
	before, after := heaviest(all), heaviest(mirrored(all))
	slices.Reverse(after)
	var latest time.Time
	for i, m := range all {
		if c.certain && 2*(before[i]+after[i]-m.heft()) <= weight {
			continue
		}
		if m.at.After(latest) {
			latest = m.at
		}
		c.likely, c.latest = append(c.likely, m), append(c.latest, latest)
	}
}

// mirrored is the same with what came last first.
func mirrored(all []moment) []moment {
	back := make([]moment, 0, len(all))
	for _, m := range slices.Backward(all) {
		m.at = time.UnixMilli(-m.at.UnixMilli())
		back = append(back, m)
	}
	return back
}

// heaviest is, for each moment, the most weight of a series of moments up to it of
// which none is earlier than the one before by more than half of the tolerance.
func heaviest(all []moment) []int {
	times := make([]int64, len(all))
	for i, m := range all {
		times[i] = m.at.UnixMilli()
	}
	ranks := slices.Clone(times)
	slices.Sort(ranks)
	ranks = slices.Compact(ranks)
	best, weight := newHighest(len(ranks)), make([]int, len(all))
	for i, m := range all {
		below, _ := slices.BinarySearch(ranks, times[i]+tolerance.Milliseconds()/2+1)
		weight[i] = m.heft()
		if before := best.upTo(below-1, weight); before >= 0 {
			weight[i] += weight[before]
		}
		rank, _ := slices.BinarySearch(ranks, times[i])
		best.put(rank, i, weight, times)
	}
	return weight
}

func (m moment) heft() int { return max(1, m.weight) }

// longestRise is the heaviest series of moments whose times never fall, to within
// half of the tolerance: their places in all.
func longestRise(all []moment) []int {
	step := func(m moment) int64 { return m.at.UnixMilli() / (tolerance.Milliseconds() / 2) }
	times := make([]int64, len(all))
	for i, m := range all {
		times[i] = step(m)
	}
	ranks := slices.Clone(times)
	slices.Sort(ranks)
	ranks = slices.Compact(ranks)
	best := newHighest(len(ranks))
	weight, before := make([]int, len(all)), make([]int, len(all))
	last := -1
	for i, m := range all {
		rank, _ := slices.BinarySearch(ranks, times[i])
		before[i] = best.upTo(rank, weight)
		weight[i] = m.heft()
		if before[i] >= 0 {
			weight[i] += weight[before[i]]
		}
		best.put(rank, i, weight, times)
		if last < 0 || weight[i] >= weight[last] {
			last = i
		}
	}
	var rise []int
	for i := last; i >= 0; i = before[i] {
		rise = append(rise, i)
	}
	slices.Reverse(rise)
	return rise
}

// highest finds the heaviest end of a series among all up to a rank: a Fenwick tree.
type highest []int

func newHighest(n int) highest {
	h := make(highest, n+1)
	for i := range h {
		h[i] = -1
	}
	return h
}

func (h highest) upTo(rank int, weight []int) int {
	best := -1
	for i := rank + 1; i > 0; i -= i & -i {
		if h[i] >= 0 && (best < 0 || weight[h[i]] > weight[best]) {
			best = h[i]
		}
	}
	return best
}

// put adds an item. Of two that are as heavy, the later one by its time stays: what
// follows is nearer to it, and of two machines that contradict each other, it is the one
// that is far from all others which is wrong.
func (h highest) put(rank, item int, weight []int, times []int64) {
	for i := rank + 1; i < len(h); i += i & -i {
		old := h[i]
		if old < 0 || weight[item] > weight[old] || weight[item] == weight[old] && times[item] >= times[old] {
			h[i] = item
		}
	}
}

// around is between which times the sound clocks put a place in the order; a zero
// time where none of them came before, or after.
func (c clock) around(index uint64) (from, to time.Time) {
	i, exact := slices.BinarySearchFunc(c.sound, index, func(m moment, index uint64) int { return cmp.Compare(m.index, index) })
	if i > 0 {
		from = c.sound[i-1].at
	}
	if exact {
		i++
	}
	if i < len(c.sound) {
		to = c.sound[i].at
	}
	return from, to
}

// fits reports whether a moment's clock agrees with the sound ones.
func (c clock) fits(m moment) bool {
	from, to := c.around(m.index)
	return (from.IsZero() || !m.at.Before(from.Add(-tolerance))) && (to.IsZero() || !m.at.After(to.Add(tolerance)))
}

// when is the time of a moment by the sound clocks, by how much it may be wrong, and
// by how much its own clock is off, 0 if it can be relied on. Where nothing is
// certain, its own clock is taken, and where nothing is known, ok is false.
func (c clock) when(m moment) (at time.Time, give, off time.Duration, ok bool) {
	if !c.certain || c.fits(m) {
		return m.at, 0, 0, true
	}
	from, to := c.around(m.index)
	switch {
	case from.IsZero():
		return to, 0, m.at.Sub(to), false
	case to.IsZero():
		return from, 0, m.at.Sub(from), false
	}
	give = to.Sub(from) / 2
	at = from.Add(give)
	return at, give, m.at.Sub(at), true
}

// kindest is the latest time at which a moment can have been: who is late by that is
// late, whosever clock is wrong.
func (c clock) kindest(m moment) time.Time {
	at, give, _, _ := c.when(m)
	at = at.Add(give)
	// How many of the likely ones are not after it.
	n, _ := slices.BinarySearchFunc(c.likely, m.index, func(o moment, index uint64) int {
		if o.index <= index {
			return -1
		}
		return 1
	})
	if n > 0 && c.latest[n-1].After(at) {
		return c.latest[n-1]
	}
	return at
}

// could reports whether a moment is a likely one.
func (c clock) could(m moment) bool {
	return slices.ContainsFunc(c.likely, func(o moment) bool { return o.index == m.index && o.at.Equal(m.at) })
}

// soonest is when it is at least, where clocks contradict each other: by the sound
// ones, by ours if it may be right, and by those of the nodes if these agree. The
// publisher's and ours may be one, and ahead.
func (c clock) soonest(now time.Time, ours moment, nodes []moment) time.Time {
	if c.could(ours) && ours.at.Before(now) {
		now = ours.at
	}
	if n := newClock(nodes); n.certain && n.sound[len(n.sound)-1].at.Before(now) {
		now = n.sound[len(n.sound)-1].at
	}
	return now
}
