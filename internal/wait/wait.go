// Package wait is how this program waits: for a time or the end of a context, and between
// two attempts. It imports nothing of this module.
package wait

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits for d, or until ctx ends: then the error is its cause.
func For(ctx context.Context, d time.Duration) error {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Backoff is how long to wait between attempts: at most Least after the first failure,
// doubled with each, up to Most. The time is random, half of that at least, so that many
// who failed at one moment do not come back at one moment.
type Backoff struct{ Least, Most time.Duration }

// After is the time to wait after so many failures before the last one.
func (b Backoff) After(failures int) time.Duration {
	ceiling := b.Least << min(max(0, failures), 20)
	if ceiling > b.Most || ceiling <= 0 {
		ceiling = b.Most
	}
	return ceiling/2 + rand.N(max(1, ceiling/2))
}

// Again calls read once, and then after each of the times as long as it says that another
// look may find more. pause waits; nil: For does.
func Again(ctx context.Context, pause func(context.Context, time.Duration) error, times []time.Duration,
	read func() (again bool, err error)) error {
	if pause == nil {
		pause = For
	}
	for n := 0; ; n++ {
		if again, err := read(); err != nil || !again || n == len(times) {
			return err
		}
		if err := pause(ctx, times[n]); err != nil {
			return err
		}
	}
}
