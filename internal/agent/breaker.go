package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// settled resets the failure count of a store after this much uptime.
const settled = 10 * time.Second

// errMissed ends a watch when the store becomes unreachable: the store, or a proxy before it, may repeat the watch by
// itself, and the target would not learn of the outage.
var errMissed = errors.New("the store was unreachable meanwhile")

// breaker is the circuit breaker that all requests to the store share. While it is open, one request at a time probes the
// store, and rarely; the others fail, or wait for its result.
type breaker struct {
	log  *slog.Logger
	addr func() string // of the store that is asked

	mu       sync.Mutex
	known    bool // the store has answered, or failed to
	up       bool
	since    time.Time
	err      error // why it is open
	failures int   // in a row
	next     time.Time
	probing  bool
	last     outage
	turns    uint64          // how often it opened or closed
	era      context.Context // ends when the breaker opens
	endEra   context.CancelCauseFunc
	changed  chan struct{} // closed, and replaced, when any of this changes
}

// ticket goes with a request from its begin to its report.
type ticket struct {
	probe bool // the one request while the breaker is open
	turns uint64
	era   context.Context
}

func newBreaker(log *slog.Logger, addr func() string) *breaker {
	b := &breaker{log: log, addr: addr, changed: make(chan struct{})}
	b.era, b.endEra = context.WithCancelCause(context.Background())
	return b
}

// pause is how long the breaker stays open after so many failures in a row: shortly twice, since a store that restarts is
// back in a moment, then for so long that a node makes less than 0.2 requests a second.
func pause(failures int) time.Duration {
	return wait.Backoff{Least: 750 * time.Millisecond, Most: 10 * time.Second}.After(2 * (failures - 1))
}

// open reports whether the breaker is open; mu is held.
func (b *breaker) open() bool { return b.known && !b.up }

// unreachable implements source.
func (b *breaker) unreachable() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open() {
		return nil
	}
	return b.err
}

// lastOutage is the last one that is over.
func (b *breaker) lastOutage() outage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// status is the state of the store.
func (b *breaker) status() StoreStatus {
	addr := b.addr()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := StoreStatus{Addr: addr, Up: b.up}
	if b.known {
		since := b.since
		s.Since = &since
	}
	if b.err != nil {
		s.Error = oneLine(kv.Guide{}.Explain(b.err))
	}
	return s
}

// contact is when the store could last be reached: now, as far as we know; nil: never.
func (b *breaker) contact() *time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.since
	if !b.known {
		return nil
	} else if b.up {
		last = time.Now()
	}
	return &last
}

// begin is the ticket of a request that is made now or not at all.
func (b *breaker) begin() (ticket, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open() {
		return ticket{}, b.err
	}
	return ticket{turns: b.turns, era: b.era}, nil
}

// turn waits until a request may be made: at once, or, while the breaker is open, as the next probe.
func (b *breaker) turn(ctx context.Context) (ticket, error) {
	for {
		b.mu.Lock()
		rest := time.Until(b.next)
		open := b.open()
		if !open || !b.probing && rest <= 0 {
			b.probing = open
			t := ticket{probe: open, turns: b.turns, era: b.era}
			b.mu.Unlock()
			return t, nil
		}
		if b.probing {
			rest = time.Hour // the end of the probe is a change
		}
		changed := b.changed
		b.mu.Unlock()
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ticket{}, context.Cause(ctx)
		}
	}
}

// report takes the result of a request, and says whether the breaker counts it as a failure. Any answer of the store itself, a
// denial too, closes the breaker.
func (b *breaker) report(ctx context.Context, t ticket, err error) (failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.probe {
		b.probing = false
		defer b.broadcast()
	}
	if ctx.Err() != nil {
		return false // we ended the request: that says nothing of the store
	}
	now := time.Now()
	if !errors.Is(err, kv.ErrUnreachable) && !errors.Is(err, kv.ErrNotStore) && !errors.Is(err, kv.ErrUnknownOutcome) {
		b.close(now)
		return false
	}
	if t.turns != b.turns {
		return false // from before the breaker opened or closed: that says nothing of now
	}
	if b.up && now.Sub(b.since) > settled {
		b.failures = 0
	}
	if !b.open() {
		b.log.Warn("store unreachable; files stay as they are", "error", oneLine(kv.Guide{}.Explain(err)))
		b.up, b.known, b.since = false, true, now
		b.turns++
		if !errors.Is(err, kv.ErrCrowded) { // else watches go on: a new question would make it worse
			b.endEra(errMissed)
			b.era, b.endEra = context.WithCancelCause(context.Background())
		}
	}
	b.failures++
	b.err, b.next = err, now.Add(pause(b.failures))
	b.broadcast()
	return true
}

// close closes the breaker; mu is held.
func (b *breaker) close(now time.Time) {
	if b.up {
		return
	}
	if b.known {
		b.last = outage{ended: now, lasted: now.Sub(b.since)}
		b.log.Info("store reachable again", "store", b.addr(), "outage", b.last.lasted.Round(time.Millisecond))
	}
	b.up, b.known, b.since, b.err = true, true, now, nil
	b.turns++
	b.broadcast()
}

// broadcast wakes all that wait; mu is held.
func (b *breaker) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
}
