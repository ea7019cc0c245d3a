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

const (
	// maxReads is how many reads a node makes at a time, for all of its installs.
	maxReads = 16
	// maxWoken limits the data that a watch brings along, in bytes, and maxWokenAll the sum of all targets, in equal
	// shares. At rest a watch is answered once a minute, with the row: of larger data the checksum is watched.
	maxWoken    = 64 << 10
	maxWokenAll = 256 << 10
)

// storeSource is the source that asks stores itself. It takes the next one when a request fails.
type storeSource struct {
	*breaker
	requests atomic.Uint64
	poller   *poller
	waits    *waits        // of all sources of the process
	reads    chan struct{} // that are under way
	many     atomic.Bool   // there are more than fewWatched targets
	largest  atomic.Int64  // size in bytes of the largest data that is watched itself
	pace     pace

	smu    sync.Mutex
	stores []Store
	active int
}

var _ source = (*storeSource)(nil)

func newStoreSource(stores []Store, w *waits, p pace, log *slog.Logger) *storeSource {
	s := &storeSource{stores: stores, waits: w, pace: p, reads: make(chan struct{}, maxReads)}
	s.breaker = newBreaker(log, s.Addr)
	s.poller = &poller{source: s}
	s.serve(1)
	return s
}

// serve sets what depends on the number of targets.
func (s *storeSource) serve(targets int) {
	s.many.Store(targets > fewWatched)
	s.largest.Store(int64(min(maxWoken, maxWokenAll/min(max(1, targets), maxWatched))))
}

// renew replaces each store by another. Requests under way continue.
func (s *storeSource) renew(stores []Store) {
	s.smu.Lock()
	defer s.smu.Unlock()
	s.stores, s.active = stores, s.active%len(stores)
}

func (s *storeSource) store() Store {
	s.smu.Lock()
	defer s.smu.Unlock()
	return s.stores[s.active]
}

// Addr implements source: it is the address of the store that is asked now.
func (s *storeSource) Addr() string { return s.store().Addr() }

// Offset implements kv.Clock, if that store does.
func (s *storeSource) Offset() (time.Duration, bool) {
	if c, ok := s.store().(kv.Clock); ok {
		return c.Offset()
	}
	return 0, false
}

// report passes a result to the breaker, and takes the next store after a failure.
func (s *storeSource) report(ctx context.Context, t ticket, err error) {
	if s.breaker.report(ctx, t, err) {
		s.smu.Lock()
		defer s.smu.Unlock()
		s.active = (s.active + 1) % len(s.stores)
	}
}

// Watch asks for a row. With an index it fails at once while the store is unreachable, so that the target learns of it.
// Without one it is answered at once, so it can probe the store: it waits for its turn.
func (s *storeSource) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (entry kv.Entry, err error) {
	var t ticket
	if since == 0 {
		t, err = s.turn(ctx)
	} else {
		t, err = s.begin()
	}
	if err != nil {
		return kv.Entry{}, err
	}
	ending, end := context.WithCancelCause(ctx)
	defer context.AfterFunc(t.era, func() { end(errMissed) })() //nolint:contextcheck // an outage ends it, too
	defer end(nil)
	err = s.request(ending, t, func() error { // reported if it was ended, too: if all wait for it, they wait no longer
		entry, err = s.store().Watch(ending, path, since, wait)
		return err
	})
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(ending), errMissed) {
		return kv.Entry{}, &kv.StoreError{Op: "watch " + path, Addr: s.Addr(), Kind: kv.ErrUnreachable, Cause: errMissed}
	}
	return entry, err
}

// request makes a request and reports its result. It repeats one a few times that the store refused because there are too many:
// that is no outage, after which all targets would ask at once.
func (s *storeSource) request(ctx context.Context, t ticket, try func() error) (err error) {
	backoff := wait.Backoff{Least: 2 * time.Second, Most: 4 * time.Second}
	s.requests.Add(1)
	for n := range 3 {
		if err = try(); !errors.Is(err, kv.ErrCrowded) || n == 2 || wait.For(ctx, backoff.After(n)) != nil {
			break
		}
	}
	s.report(ctx, t, err)
	return err
}

// poll reads rows as they are, once the store is reachable. The error is kv.ErrTooLarge if there are too many.
func (s *storeSource) poll(ctx context.Context, paths []string) (rows kv.Snapshot, err error) {
	t, err := s.turn(ctx)
	if err != nil {
		return nil, err
	}
	large := false
	err = s.request(ctx, t, func() error {
		rows, err = s.store().Read(ctx, kv.Stale, paths...)
		if large = len(paths) > 1 && (errors.Is(err, kv.ErrLongAnswer) || errors.Is(err, kv.ErrTooLarge)); large {
			return nil // the store is reachable
		}
		return err
	})
	if large {
		err = kv.ErrTooLarge
	}
	return rows, err
}

// Read implements source.
func (s *storeSource) Read(ctx context.Context, c kv.Consistency, paths ...string) (rows kv.Snapshot, err error) {
	select {
	case s.reads <- struct{}{}:
		defer func() { <-s.reads }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	t, err := s.begin()
	if err != nil {
		return nil, err
	}
	err = s.request(ctx, t, func() error {
		rows, err = s.store().Read(ctx, c, paths...)
		return err
	})
	return rows, err
}

// offered implements source: the store does not know nodes.
func (*storeSource) offered(kv.Key) (id string, known bool) { return "", false }

// withdrawn implements source.
func (*storeSource) withdrawn(kv.Key, string) <-chan struct{} { return nil }

// aside is the store for receipts, which no install waits for. It fails at once while the breaker is open, but its results do
// not open it: a store that limits writes, and refuses a receipt, still answers the reads of installs.
type aside struct{ *storeSource }

// Read fails at once while the store is unreachable.
func (a aside) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if _, err := a.begin(); err != nil {
		return nil, err
	}
	a.requests.Add(1)
	return a.store().Read(ctx, c, paths...)
}

// Commit fails at once while the store is unreachable.
func (a aside) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if _, err := a.begin(); err != nil {
		return nil, err
	}
	a.requests.Add(1)
	return a.store().Commit(ctx, ops)
}
