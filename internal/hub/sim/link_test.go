package sim

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// state is how a link to the store is.
type state int

const (
	works state = iota
	refuses
	hangs // each request fails after a while
)

const (
	slowest  = 1500 * time.Millisecond // on each way, of a slow link
	hangTime = 5 * time.Second
	loss     = 100 // one request of so many fails
	mostLag  = 400 * time.Millisecond
)

// link is the way of one client to the store.
type link struct {
	*embedded.Store
	w    *world
	name string

	mu    sync.Mutex
	state state
	deaf  bool          // a wait for a change gets no answer
	slow  time.Duration // the longest time on each way
	usual time.Duration // slow, when nothing is broken
	cut   context.CancelFunc
	era   context.Context // ends with a cut

	// reads are the reads of stops and locks: when the store was read, by wire.Clock of the begin.
	start time.Time
	reads map[int64]span
}

// span is when several reads that began at one moment saw the store.
type span struct{ first, last time.Time }

func newLink(w *world, name string) *link {
	usual := w.speed()
	l := &link{Store: w.store, w: w, name: name, slow: usual, usual: usual}
	l.set(works)
	return l
}

// speed is a longest time on each way.
func (w *world) speed() time.Duration {
	return []time.Duration{time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond, slowest}[w.plan.IntN(4)]
}

// set changes the state. Requests under way fail if the link refuses.
func (l *link) set(s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	switch {
	case s == refuses:
		l.cut()
	case l.era == nil || l.era.Err() != nil:
		l.era, l.cut = context.WithCancel(context.Background())
	}
}

// Addr implements agent.Store.
func (l *link) Addr() string { return "the store" }

// live is a context that ends with a cut, too.
func (l *link) live(ctx context.Context) (context.Context, context.CancelFunc) {
	l.mu.Lock()
	era := l.era
	l.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(era, cancel)
	return ctx, func() { stop(); cancel() }
}

// travel is one way between client and store.
func (l *link) travel(ctx context.Context) error {
	l.mu.Lock()
	slow, state := l.slow, l.state
	l.mu.Unlock()
	err := wait.For(ctx, l.w.upTo(slow))
	if err == nil && state == hangs {
		err = wait.For(ctx, hangTime)
	}
	if err != nil || state != works || l.w.faulty() && l.w.chance(loss) {
		return &kv.StoreError{Op: "ask", Addr: l.Addr(), Kind: kv.ErrUnreachable, Cause: err}
	}
	return nil
}

// request is a request that does not write.
func (l *link) request(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := l.live(ctx)
	defer cancel()
	if err := l.travel(ctx); err != nil {
		return err
	}
	if err := do(ctx); err != nil {
		return err
	}
	return l.travel(ctx)
}

// Read implements kv.Reader.
func (l *link) Read(ctx context.Context, c kv.Consistency, paths ...string) (rows kv.Snapshot, err error) {
	began := time.Now()
	err = l.request(ctx, func(ctx context.Context) error {
		if v, outdated := l.w.past(); outdated && c != kv.Consistent && l.w.chance(2) {
			rows = v.read(paths)
		} else if rows, err = l.Store.Read(ctx, c, paths...); err != nil {
			return err
		}
		l.note(began, paths)
		return nil
	})
	return rows, err
}

// read is Store.Read of an old view.
func (v view) read(paths []string) kv.Snapshot {
	rows := kv.Snapshot{}
	set := func(path string, row *embedded.Row) {
		rows[path] = kv.Entry{State: kv.Absent}
		if row != nil {
			rows[path] = kv.Entry{State: kv.Present, Value: slices.Clone(row.Value), Flags: row.Flags, Index: row.ModifyIndex}
		}
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, "/") {
			set(path, v.Get(path))
			continue
		}
		for row := range v.List(path) {
			set(row.Path, row)
		}
	}
	return rows
}

// note notes when the store was read for stops and locks.
func (l *link) note(began time.Time, paths []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reads == nil || !slices.Contains(paths, l.w.layout.LocksDir()) {
		return
	}
	now, at := time.Now(), wire.Clock(l.start, began)
	s, has := l.reads[at]
	if !has {
		s.first = now
	}
	s.last = now
	l.reads[at] = s
}

// saw is when reads that began at a reading of the hub's clock saw the store.
func (l *link) saw(clock int64) (span, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.reads[clock]
	return s, ok
}

// listen forgets old reads, and dates new ones by the clock of a hub.
func (l *link) listen(start time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start, l.reads = start, map[int64]span{}
}

// Commit implements kv.Writer. Clients write receipts, and hubs what rollouts need.
func (l *link) Commit(ctx context.Context, ops []kv.Op) (written map[string]uint64, err error) {
	for _, op := range ops {
		if node, ok := strings.CutPrefix(op.Path, l.w.layout.NodesDir()); ok {
			l.w.claim(l.name+" writes", node, op.Value, op.Flags)
		}
	}
	ctx, cancel := l.live(ctx)
	defer cancel()
	if err := l.travel(ctx); err != nil {
		return nil, err
	}
	if written, err = l.commit(ctx, ops); err != nil {
		return nil, err
	}
	if err := l.travel(ctx); err != nil {
		return nil, &kv.StoreError{Op: "write", Addr: l.Addr(), Kind: kv.ErrUnknownOutcome, Cause: err}
	}
	return maps.Clone(written), nil
}

// commit is Store.Commit. With stages, the simulation sees each state of the store.
func (l *link) commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	if l.w.staged == nil {
		return l.Store.Commit(ctx, ops)
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	written, err := l.Store.Commit(ctx, ops)
	if err == nil && !strings.HasPrefix(ops[0].Path, l.w.layout.NodesDir()) {
		l.w.viewed()
	}
	return written, err
}

// hang waits until ctx ends if the link is deaf.
func (l *link) hang(ctx context.Context, since uint64) {
	l.mu.Lock()
	deaf := l.deaf && since > 0
	l.mu.Unlock()
	if deaf {
		<-ctx.Done()
	}
}

// List implements kv.Store.
func (l *link) List(ctx context.Context, c kv.Consistency, prefix string, since uint64, most time.Duration) (all kv.Listing, err error) {
	err = l.request(ctx, func(ctx context.Context) error {
		all, err = l.Store.List(ctx, c, prefix, since, most)
		l.hang(ctx, since)
		return err
	})
	return all, err
}

// Pulse implements kv.Pulser.
func (l *link) Pulse(ctx context.Context, dir string, since uint64, most time.Duration) (beat kv.Beat, err error) {
	err = l.request(ctx, func(ctx context.Context) error {
		beat, err = l.Store.Pulse(ctx, dir, since, most)
		l.hang(ctx, since)
		return err
	})
	return beat, err
}

// Watch implements kv.Watcher.
func (l *link) Watch(ctx context.Context, path string, since uint64, most time.Duration) (e kv.Entry, err error) {
	err = l.request(ctx, func(ctx context.Context) error {
		e, err = l.Store.Watch(ctx, path, since, most)
		return err
	})
	return e, err
}

// Denied implements kv.Permissions.
func (l *link) Denied(ctx context.Context, token string, reads, writes []string) (denied []string, err error) {
	err = l.request(ctx, func(ctx context.Context) error {
		denied, err = l.Store.Denied(ctx, token, reads, writes)
		return err
	})
	return denied, err
}
