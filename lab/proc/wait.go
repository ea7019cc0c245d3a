package proc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// patience is for all that a lab has to do on a busy machine: a dead one may hold a
	// lock for 45 s, and a watch that has failed asks again after up to 3 minutes.
	patience = 4 * time.Minute
	// between is the time between two tries.
	between = 20 * time.Millisecond
)

// ErrEnded is in the error of a try that no other try would change: a program has ended
// that is not started again.
var ErrEnded = errors.New("it has ended, and is not started again")

// Poll calls try until it returns nil or ErrEnded, or its time or ctx ends. The error
// has what, and the last error of try.
func Poll(ctx context.Context, what string, try func() error) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(between)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if errors.Is(err, ErrEnded) {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (%w)", what, context.Cause(ctx), err)
		case <-limit.C:
			return fmt.Errorf("waited in vain for %s: %w", what, err)
		case <-tick.C:
		}
	}
}

// Sleep waits for a time, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Each calls f for all at the same time, and returns the first error in their order.
func Each[T any](of []T, f func(T) error) error {
	errs := make([]error, len(of))
	var wg sync.WaitGroup
	for i, x := range of {
		wg.Go(func() { errs[i] = f(x) })
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// Pulse calls off and on by turns, as on a machine that is overloaded, until the returned
// function ends that with on.
func Pulse(ctx context.Context, off, on func(), forOff, forOn time.Duration) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			off()
			Sleep(ctx, forOff)
			on()
			Sleep(ctx, forOn)
		}
	})
	return func() { cancel(); wg.Wait() }
}
