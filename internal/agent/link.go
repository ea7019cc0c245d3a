package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// Store is what an agent needs of a store.
type Store interface {
	kv.Store
	kv.Watcher
	Addr() string // for people
}

// settled is how long a store must have been up for its next failure to count as
// the first one.
const settled = 10 * time.Second

// maxWatches is how many watches a node has at once, each with a connection: Consul
// allows an address 200 connections, if nobody raised that. With more targets than
// that, they take turns, and turn is how long each of them is.
const (
	maxWatches = 150
	turnTime   = 5 * time.Second
)

// link is the way to the store that all targets of a node share. While the store
// is away, one request at a time is made, and rarely; all others wait for its
// result.
type link struct {
	stores   []Store
	log      *slog.Logger
	requests atomic.Uint64
	watches  chan struct{} // as many as there are at once
	crowded  atomic.Bool   // there are more targets than that
	largest  atomic.Int64  // size in bytes of the largest data to be watched itself

	mu       sync.Mutex
	active   int // which of the stores
	known    bool
	up       bool
	since    time.Time
	err      error // why it is away
	failures int   // in a row
	next     time.Time
	probing  bool
	lastAway outage
	turns    uint64        // how often it went away or came back
	changed  chan struct{} // closed, and made anew, when any of this changes
	pending  map[*pending]struct{}
}

// pending is a watch that is under way.
type pending struct {
	turns uint64 // of the link, when it began
	end   context.CancelCauseFunc
}

// missed reports whether the store went away, and came back, since it began.
func (p *pending) missed(turns uint64) bool { return p.turns+1 < turns }

// errMissed ends a watch from before an outage: the store, or what carries our requests, may have begun it anew by
// itself, and then the target would not learn that there was one, and not look.
var errMissed = errors.New("the store was away meanwhile")

// ticket goes with a request from its begin to its report.
type ticket struct {
	probe bool   // the one that tries, while all others wait
	turns uint64 // of the link, when it began
}

func newLink(stores []Store, log *slog.Logger) *link {
	l := &link{stores: stores, log: log, watches: make(chan struct{}, maxWatches), changed: make(chan struct{}),
		pending: make(map[*pending]struct{})}
	l.serve(1)
	return l
}

// serve sets what depends on the number of targets.
func (l *link) serve(targets int) {
	l.crowded.Store(targets > maxWatches)
	l.largest.Store(int64(min(maxWoken, maxWokenAll/max(1, targets))))
}

// wait is how long a watch lasts in which nothing happens.
func (l *link) wait() time.Duration {
	if l.crowded.Load() {
		return turnTime
	}
	return kv.MaxWait
}

// pause is how long to wait after so many failures in a row: shortly twice, since
// a store that restarts is back in a moment, then for so long that a node makes
// less than 0.2 requests a second.
func pause(failures int) time.Duration {
	return wait.Backoff{Least: 750 * time.Millisecond, Most: 10 * time.Second}.After(2 * (failures - 1))
}

// renew puts other stores in the place of as many. What is under way goes on.
func (l *link) renew(stores []Store) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stores, l.active = stores, l.active%len(stores)
}

func (l *link) store() Store {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stores[l.active]
}

// Offset implements kv.Clock, if the store does that is asked at the moment.
func (l *link) Offset() (time.Duration, bool) {
	if c, ok := l.store().(kv.Clock); ok {
		return c.Offset()
	}
	return 0, false
}

// Addr is where the store is that is asked at the moment.
func (l *link) Addr() string { return l.store().Addr() }

// away is why the store cannot be reached, nil if it can as far as we know.
func (l *link) away() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known || l.up {
		return nil
	}
	return l.err
}

func (l *link) status() StoreStatus {
	addr := l.Addr()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := StoreStatus{Addr: addr, Up: l.up}
	if l.known {
		since := l.since
		s.Since = &since
	}
	if l.err != nil {
		s.Error = oneLine(l.err.Error())
	}
	return s
}

// outage is a time in which the store could not be reached.
type outage struct {
	ended  time.Time // zero: there was none
	lasted time.Duration
}

// outage is the last one that is over.
func (l *link) outage() outage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastAway
}

// begin is the ticket of a request that is made now or not at all: the error is why
// the store is away.
func (l *link) begin() (ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known && !l.up {
		return ticket{}, l.err
	}
	l.requests.Add(1)
	return ticket{turns: l.turns}, nil
}

// turn returns when a request may be made: at once, or, while the store is away,
// when it is time to try and nobody else does.
func (l *link) turn(ctx context.Context) (ticket, error) {
	for {
		l.mu.Lock()
		rest := time.Until(l.next)
		away := l.known && !l.up
		if !away || !l.probing && rest <= 0 {
			l.probing = away
			l.requests.Add(1)
			t := ticket{probe: away, turns: l.turns}
			l.mu.Unlock()
			return t, nil
		}
		if l.probing {
			rest = time.Hour // its end is a change
		}
		changed := l.changed
		l.mu.Unlock()
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

// report takes what a request came to. Whatever the store answered by itself, a
// denial too, shows that it is there.
func (l *link) report(ctx context.Context, t ticket, err error) {
	away := errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore) || errors.Is(err, kv.ErrUnknownOutcome)
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.probe {
		l.probing = false
		defer l.broadcast()
	}
	if ctx.Err() != nil {
		return // we hung up: that says nothing
	}
	now := time.Now()
	if !away {
		if !l.up {
			if l.known {
				l.lastAway = outage{ended: now, lasted: now.Sub(l.since)}
				l.log.Info("the store is back", "store", l.stores[l.active].Addr(), "away", now.Sub(l.since).Round(time.Millisecond))
			}
			l.up, l.known, l.since, l.err = true, true, now, nil
			l.turns++
			l.broadcast()
			for p := range l.pending {
				if p.missed(l.turns) {
					p.end(errMissed)
				}
			}
		}
		return
	}
	if t.turns != l.turns {
		return // from before it went away, or came back: that says nothing of now
	}
	if l.up && now.Sub(l.since) > settled {
		l.failures = 0
	}
	if l.up || !l.known {
		l.log.Warn("the store is away; the files stay as they are", "error", err)
		l.up, l.known, l.since = false, true, now
		l.turns++
	}
	l.failures++
	l.err, l.next = err, now.Add(pause(l.failures))
	l.active = (l.active + 1) % len(l.stores)
	l.broadcast()
}

// broadcast wakes all that wait; mu is held.
func (l *link) broadcast() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Watch waits for its turn first.
func (l *link) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	select {
	case l.watches <- struct{}{}:
		defer func() { <-l.watches }()
	case <-ctx.Done():
		return kv.Entry{}, context.Cause(ctx)
	}
	wait = min(wait, l.wait())
	t, err := l.turn(ctx)
	if err != nil {
		return kv.Entry{}, err
	}
	ending, end := l.pend(ctx, t)
	defer end()
	missed := t.probe && since != 0
	if missed {
		since = 0 // all others wait for the one that tries: it must be answered at once
	}
	entry, err := l.store().Watch(ending, path, since, wait)
	l.report(ending, t, err) // of one that was ended too: if all wait for it, they wait no longer
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(ending), errMissed) {
		return kv.Entry{}, l.missed(path)
	}
	if err == nil && missed {
		return kv.Entry{}, l.missed(path) // so that the target looks, too
	}
	return entry, err
}

// missed is what a watch comes to that may not have seen an outage.
func (l *link) missed(path string) error {
	return &kv.StoreError{Op: "watch " + path, Addr: l.Addr(), Kind: kv.ErrUnreachable, Cause: errMissed}
}

// pend notes a watch until its end, so that an outage ends it.
func (l *link) pend(ctx context.Context, t ticket) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &pending{turns: t.turns, end: cancel}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending[p] = struct{}{}
	if p.missed(l.turns) { // before it was noted
		p.end(errMissed)
	}
	return ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.pending, p)
		cancel(nil)
	}
}

// Read fails at once while the store is away.
func (l *link) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	t, err := l.begin()
	if err != nil {
		return nil, err
	}
	rows, err := l.store().Read(ctx, c, paths...)
	l.report(ctx, t, err)
	return rows, err
}

// aside is the link for what no delivery depends on. While the store is away it fails
// at once, as all do, but what becomes of its requests says nothing of the store: one
// that limits writes, and refuses a receipt, still answers the reads of deliveries.
type aside struct{ *link }

// Read fails at once while the store is away.
func (a aside) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if _, err := a.begin(); err != nil {
		return nil, err
	}
	return a.store().Read(ctx, c, paths...)
}

// Commit fails at once while the store is away.
func (a aside) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if _, err := a.begin(); err != nil {
		return nil, err
	}
	return a.store().Commit(ctx, ops)
}
