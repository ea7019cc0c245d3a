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

// maxReads is how many reads a node makes at a time, for all of its deliveries.
const maxReads = 16

// link is the way to the store that all targets of a node share. While the store
// is away, one request at a time is made, and rarely; all others wait for its
// result.
type link struct {
	stores   []Store
	log      *slog.Logger
	requests atomic.Uint64
	poller   *poller
	waits    *waits        // of all links of the process
	reads    chan struct{} // that are under way
	many     atomic.Bool   // there are more than fewWatched targets
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
	lost     uint64        // how often it went away for another reason than too many requests
	changed  chan struct{} // closed, and made anew, when any of this changes
	pending  map[*pending]struct{}
}

// pending is a watch that is under way.
type pending struct {
	lost uint64 // of the link, when it began
	end  context.CancelCauseFunc
}

// errMissed ends a watch from before an outage: the store, or what carries our requests, may have begun it anew by
// itself, and then the target would not learn that there was one, and not look.
var errMissed = errors.New("the store was away meanwhile")

// ticket goes with a request from its begin to its report.
type ticket struct {
	probe bool   // the one that tries, while all others wait
	turns uint64 // of the link, when it began
	lost  uint64
}

func newLink(stores []Store, w *waits, log *slog.Logger) *link {
	l := &link{stores: stores, log: log, waits: w, reads: make(chan struct{}, maxReads), changed: make(chan struct{}),
		pending: make(map[*pending]struct{})}
	l.poller = &poller{link: l}
	l.serve(1)
	return l
}

// serve sets what depends on the number of targets.
func (l *link) serve(targets int) {
	l.many.Store(targets > fewWatched)
	l.largest.Store(int64(min(maxWoken, maxWokenAll/min(max(1, targets), maxWatched))))
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
		s.Error = oneLine(kv.Guide{}.Explain(l.err))
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
	return ticket{turns: l.turns, lost: l.lost}, nil
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
			t := ticket{probe: away, turns: l.turns, lost: l.lost}
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
				if p.lost != l.lost {
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
		l.log.Warn("the store is away; the files stay as they are", "error", oneLine(kv.Guide{}.Explain(err)))
		l.up, l.known, l.since = false, true, now
		l.turns++
		if !errors.Is(err, kv.ErrCrowded) {
			l.lost++ // else what waits goes on to wait: to ask anew would make it worse
		}
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

// follow implements source: a query that waits at the store.
func (l *link) follow(ctx context.Context, q question, answers chan<- answer) {
	go func() { // ends with its answer; the target takes it
		_ = wait.For(ctx, q.delay) // the watch asks ctx
		began := time.Now()
		entry, err := l.Watch(ctx, q.path, q.since, q.wait)
		quiet := q.since != 0 && entry.Index == q.since && time.Since(began) > q.wait/2
		answers <- answer{path: q.path, entry: entry, err: err, quiet: quiet}
	}()
}

// Watch waits for its turn first, if it asks without an index: it is answered at once then, and others wait for that. Else it
// fails at once while the store is away, so that the target learns of it.
func (l *link) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (entry kv.Entry, err error) {
	var t ticket
	if since == 0 {
		t, err = l.turn(ctx)
	} else {
		t, err = l.begin()
	}
	if err != nil {
		return kv.Entry{}, err
	}
	ending, end := l.pend(ctx, t)
	defer end()
	err = patiently(ending, func() error {
		entry, err = l.store().Watch(ending, path, since, wait)
		return err
	})
	l.report(ending, t, err) // of one that was ended too: if all wait for it, they wait no longer
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(ending), errMissed) {
		return kv.Entry{}, &kv.StoreError{Op: "watch " + path, Addr: l.Addr(), Kind: kv.ErrUnreachable, Cause: errMissed}
	}
	return entry, err
}

// patiently makes a request again, a few times, that the store refused because there are too many: it is there, and for
// an outage all would ask at once.
func patiently(ctx context.Context, request func() error) error {
	backoff := wait.Backoff{Least: 2 * time.Second, Most: 4 * time.Second}
	for n := 0; ; n++ {
		err := request()
		if n == 2 || !errors.Is(err, kv.ErrCrowded) || wait.For(ctx, backoff.After(n)) != nil {
			return err
		}
	}
}

// poll reads rows as they are, once the store is there.
func (l *link) poll(ctx context.Context, paths []string) (rows kv.Snapshot, err error) {
	t, err := l.turn(ctx)
	if err != nil {
		return nil, err
	}
	err = patiently(ctx, func() error {
		rows, err = l.store().Read(ctx, kv.Stale, paths...)
		return err
	})
	told := err
	if errors.Is(err, kv.ErrLongAnswer) && len(paths) > 1 {
		told = nil // the store is there; it is asked for less
	}
	l.report(ctx, t, told)
	return rows, err
}

// pend notes a watch until its end, so that an outage ends it.
func (l *link) pend(ctx context.Context, t ticket) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &pending{lost: t.lost, end: cancel}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending[p] = struct{}{}
	if l.up && p.lost != l.lost { // before it was noted
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
func (l *link) Read(ctx context.Context, c kv.Consistency, paths ...string) (rows kv.Snapshot, err error) {
	select {
	case l.reads <- struct{}{}:
		defer func() { <-l.reads }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	t, err := l.begin()
	if err != nil {
		return nil, err
	}
	err = patiently(ctx, func() error {
		rows, err = l.store().Read(ctx, c, paths...)
		return err
	})
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
