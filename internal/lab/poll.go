//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// patience is for whatever a part of the lab has to do, on a machine that has more
	// to do: only a broken lab takes so long.
	patience = 2 * time.Minute
	// between is the time between two looks.
	between = 20 * time.Millisecond
)

// errEnded is in the error of a try that no other one would change: a program has ended
// that is not started again.
var errEnded = errors.New("it is not started again")

// poll calls try until it returns nil or errEnded, patience or ctx ends. What is waited
// for is in the error, with the last that try said.
func poll(ctx context.Context, what string, try func() error) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(between)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if errors.Is(err, errEnded) {
			return fmt.Errorf("no use to wait for %s: %w", what, err)
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

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
