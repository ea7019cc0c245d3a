package agent

import "time"

const (
	burst  = 10                     // returns of a watch that are taken at once
	refill = 250 * time.Millisecond // for one more
)

// bucket limits how often a watch may return: what returns without end, for
// whatever reason, must not become a busy loop, and of a storm of versions only
// the last counts. The zero value is full.
type bucket struct {
	used int
	at   time.Time // when used was last right
}

// take takes one return out of the bucket, and says how long to wait before the
// next one is asked for.
func (b *bucket) take(now time.Time) time.Duration {
	if back := int(now.Sub(b.at) / refill); back >= b.used {
		b.used, b.at = 0, now
	} else {
		b.used -= back
		b.at = b.at.Add(time.Duration(back) * refill)
	}
	if b.used++; b.used < burst {
		return 0
	}
	return time.Duration(b.used-burst+1) * refill
}
