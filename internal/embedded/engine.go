// Package embedded is the embedded store: Consul's KV table in one process, with the rules, indexes, limits and error texts of
// Consul 1.22.5, in memory or on disk. Engine is the store, consulapi serves it over HTTP, and Store is its kv.Store for this
// process. The package also reads and writes exports in Consul's format. Of this module it imports kv only.
//
// There is one writer at a time. Concurrent writes are made durable together (group commit). A write is visible and acknowledged
// only when it is durable. Readers use an immutable View and never block.
//
// It is not a cluster: for more than one machine, use Consul.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The errors of writes, besides Consul's own texts.
var (
	// ErrNotWritten: the write did not happen. The next one may succeed.
	ErrNotWritten = errors.New("nothing was written")
	// ErrUnknown: the write may be on disk or not. The engine refuses further writes until it is opened again.
	ErrUnknown = errors.New("the outcome of the write is unknown")
	// ErrClosed: the engine accepts no more writes.
	ErrClosed = errors.New("the store accepts no more writes")
)

// Options configure Open.
type Options struct {
	// Journal makes writes durable; nil keeps them in memory only. Engine.Close closes it, and so does an Open that fails.
	Journal Journal
	// Broken is called once, before the failed write is answered, when the engine stops accepting writes because the state of the
	// disk is unknown. It must return at once. May be nil.
	Broken func(error)
	// Now is the clock for tombstones; nil: time.Now.
	Now func() time.Time
}

// Engine is the store. It is safe for concurrent use.
type Engine struct {
	journal Journal
	tell    func(error) // Options.Broken, or nothing
	now     func() time.Time
	state   atomic.Pointer[state] // the durable state
	hub     hub

	mu      sync.Mutex
	queue   []*write
	leading bool  // a writer is committing a batch
	broken  error // why no more writes are accepted

	reaped time.Time // when old tombstones were last removed; only the leader uses it
}

// Open returns the store with the content of the journal.
func Open(o Options) (*Engine, error) {
	e := &Engine{journal: o.Journal, now: o.Now, tell: o.Broken}
	if e.now == nil {
		e.now = time.Now
	}
	var saved Saved
	if o.Journal != nil {
		if err := o.Journal.Load(&saved); err != nil {
			return nil, errors.Join(fmt.Errorf("read the store: %w", err), o.Journal.Close())
		}
	}
	e.state.Store(restore(&saved))
	e.reaped = e.now()
	return e, nil
}

// Close refuses later writes with ErrClosed, waits for the current one and closes the journal. Views stay valid.
func (e *Engine) Close() error {
	e.fail(ErrClosed)
	if e.journal == nil {
		return nil
	}
	return e.journal.Close()
}

// Healthy returns nil while writes are accepted, else the reason why not.
func (e *Engine) Healthy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.broken
}

// fail makes the engine refuse writes from now on.
func (e *Engine) fail(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken == nil {
		e.broken = why
	}
}

// write is a queued request to write.
type write struct {
	run  func(*draft) error
	err  error
	done chan struct{} // closed when err is set
	lead chan struct{} // closed when this write becomes the leader
}

// do runs a write and returns when it is durable. An error of run undoes the write, and is returned.
//
// The first writer becomes the leader: it commits all queued writes as one batch, and then makes the next queued writer the
// leader.
func (e *Engine) do(ctx context.Context, run func(*draft) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotWritten, err)
	}
	w := &write{run: run, done: make(chan struct{}), lead: make(chan struct{})}
	e.mu.Lock()
	if e.broken != nil {
		defer e.mu.Unlock()
		return e.broken
	}
	e.queue = append(e.queue, w)
	if e.leading {
		e.mu.Unlock()
		select { // ctx does not matter any more: a leader always answers
		case <-w.done:
			return w.err
		case <-w.lead:
		}
	} else {
		e.leading = true
		e.mu.Unlock()
	}
	e.leadBatch()
	return w.err
}

// maxBatch limits the writes of one batch.
const maxBatch = 256

// leadBatch commits the queued writes, and appoints the next leader.
func (e *Engine) leadBatch() {
	e.mu.Lock()
	batch := e.queue
	if len(batch) > maxBatch {
		batch = batch[:maxBatch:maxBatch]
	}
	e.queue = e.queue[len(batch):]
	broken := e.broken
	e.mu.Unlock()

	e.commit(batch, broken)

	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		e.queue, e.leading = nil, false
		return
	}
	close(e.queue[0].lead)
}

// commit runs a batch, makes it durable and visible, and wakes the waiting readers.
func (e *Engine) commit(batch []*write, broken error) {
	before := e.state.Load()
	s := before
	var changes []Change
	var topics []Topic
	for _, w := range batch {
		if w.err = broken; broken != nil {
			continue
		}
		d := begin(s)
		if w.err = w.run(d); w.err == nil {
			if next, change, touched := d.end(e.now()); next != nil {
				s, changes, topics = next, append(changes, change), append(topics, touched...)
				continue
			}
		}
		s = s.past(d.index)
	}
	if len(changes) > 0 {
		s = e.reap(s, &changes[len(changes)-1])
		if err := e.append(changes); err != nil {
			for _, w := range batch { // also a write without changes: it may have seen the others
				w.err = err
			}
			s, topics = before, nil
		}
	}
	e.state.Store(s)
	for _, w := range batch {
		close(w.done)
	}
	e.hub.ring(topics)
}

// append writes to the journal. After an error that leaves the state of the disk unknown, memory and disk may differ, so the
// engine refuses further writes.
func (e *Engine) append(changes []Change) error {
	if e.journal == nil {
		return nil
	}
	err := e.journal.Append(changes)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotWritten):
		return err
	default:
		broken := fmt.Errorf("%w since a write to disk failed: %w; restart it to read the disk again", ErrClosed, err)
		if e.fail(broken); e.tell != nil {
			e.tell(broken)
		}
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

const (
	tombstoneLife = 15 * time.Minute // as in Consul
	reapEvery     = 30 * time.Second
)

// reap removes old tombstones as a part of change. Without writes there are no new tombstones, and nothing to reap.
func (e *Engine) reap(s *state, change *Change) *state {
	now := e.now()
	if now.Sub(e.reaped) < reapEvery {
		return s
	}
	e.reaped = now
	next := *s
	txn := s.tombstones.Txn()
	for path, tombstone := range all(s.tombstones.Root(), "") {
		if now.Sub(tombstone.At) > tombstoneLife {
			txn.Delete([]byte(path))
			change.Reaped = append(change.Reaped, path)
		}
	}
	next.tombstones = txn.CommitOnly()
	return &next
}
