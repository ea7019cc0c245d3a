package agent

import "time"

// clocks tells how old a snapshot is, by the clock of the hub. A hub reads its clock after it got a question, so its zero is not
// before the time of the question less that reading. This holds however long an answer lay in a buffer, as while this
// process was stopped: a snapshot may be taken for older than it is, never for newer.
type clocks struct {
	zero time.Time // of the hub's clock, at the earliest
	set  time.Time // when zero became known
}

// drift is how fast two clocks may drift apart: 1 ms a second.
const drift = 1000

// answered takes the hub's clock from the answer to a question.
func (c *clocks) answered(asked, now time.Time, clock int64) {
	zero := asked.Add(-micros(clock))
	if c.set.IsZero() || zero.After(c.earliest(now)) {
		c.zero, c.set = zero, now
	}
}

func (c *clocks) earliest(now time.Time) time.Time { return c.zero.Add(-now.Sub(c.set) / drift) }

// at is when the hub's clock was at a reading, or before.
func (c *clocks) at(clock int64, now time.Time) time.Time {
	if at := c.earliest(now).Add(micros(clock)); at.Before(now) {
		return at
	}
	return now
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
