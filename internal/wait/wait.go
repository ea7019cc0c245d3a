// Package wait waits: for a time or the end of a context, and between attempts. It imports nothing of this module.
package wait

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits for d. If ctx ends, it returns the cause.
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

// Backoff is exponential with jitter: Least after the first failure, doubled with each failure, up to Most. Each time is random
// between half of that and all of it, so that clients that failed together do not retry together.
type Backoff struct{ Least, Most time.Duration }

// After returns the time to wait after a failure that follows so many others.
func (b Backoff) After(failures int) time.Duration {
	ceiling := b.Least << min(max(0, failures), 20)
	if ceiling > b.Most || ceiling <= 0 {
		ceiling = b.Most
	}
	return ceiling/2 + rand.N(max(1, ceiling/2))
}

// Again calls read, and calls it again after each of the times while it reports again. pause waits; nil is For.
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
