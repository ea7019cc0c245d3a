package agent

import "time"

// bucket limits how often something happens: burst times at once, and then once every refill. The zero value of
// used and at is full.
type bucket struct {
	burst  int
	refill time.Duration
	used   int
	at     time.Time // when used was last right
}

// newReturns limits how often a watch may return: what returns without end, for
// whatever reason, must not become a busy loop, and of a storm of versions only
// the last counts.
func newReturns() bucket { return bucket{burst: 10, refill: 250 * time.Millisecond} }

// take takes one out of the bucket, and says how long to wait before the next one is asked for.
func (b *bucket) take(now time.Time) time.Duration {
	if back := int(now.Sub(b.at) / b.refill); back >= b.used {
		b.used, b.at = 0, now
	} else {
		b.used -= back
		b.at = b.at.Add(time.Duration(back) * b.refill)
	}
	if b.used++; b.used < b.burst {
		return 0
	}
	return time.Duration(b.used-b.burst+1) * b.refill
}
