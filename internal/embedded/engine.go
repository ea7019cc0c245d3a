// Package embedded is the embedded store: Consul's KV table in one process,
// with Consul's rules, indexes, limits and error texts (those of 1.22.5),
// in memory or on disk. Engine is the whole of it, for a front that speaks Consul's
// API; Store is the part that is a kv.Store. Of this module it imports kv alone.
//
// There is one writer at a time. Writes that come together are made durable together,
// and nobody sees, or is told of, a write before it is. Readers look at an immutable
// View and wait for nobody.
//
// It is not a cluster: past one machine, use Consul.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// What writes may end with, besides the texts of Consul's own rules.
var (
	// ErrNotWritten: the write was surely not made. The next one may well be.
	ErrNotWritten = errors.New("nothing was written")
	// ErrUnknown: it is not known whether the write is on disk. The engine takes no more writes
	// until it is opened anew.
	ErrUnknown = errors.New("the outcome of the write is unknown")
	// ErrClosed: the engine takes no more writes.
	ErrClosed = errors.New("the store takes no more writes")
)

// Options are what Open needs.
type Options struct {
	// Journal keeps what is written; nil keeps it in memory alone. Close closes it, as often as it is
	// called itself, and so does Open when it fails.
	Journal Journal
	// Broken is told once, before the write that found out is answered, that no more writes are taken and why: what
	// is on disk is not known. It returns at once. May be nil.
	Broken func(error)
	// Now is the clock of graves; time.Now if nil.
	Now func() time.Time
}

// Engine is the store. It is safe for concurrent use.
type Engine struct {
	journal Journal
	tell    func(error) // Options.Broken, or nothing
	now     func() time.Time
	state   atomic.Pointer[state] // what is durable
	hub     hub

	mu      sync.Mutex
	queue   []*write
	leading bool  // somebody is making writes durable
	broken  error // why no more writes are taken

	reaped time.Time // when graves were looked through last; the leader's
}

// Open reads what the journal holds and returns the store.
func Open(o Options) (*Engine, error) {
	e := &Engine{journal: o.Journal, now: o.Now, tell: o.Broken}
	if e.now == nil {
		e.now = time.Now
	}
	var saved Saved
	if o.Journal != nil {
		if err := o.Journal.Load(&saved); err != nil {
			return nil, errors.Join(fmt.Errorf("read what the store holds: %w", err), o.Journal.Close())
		}
	}
	e.state.Store(restore(&saved))
	e.reaped = e.now()
	return e, nil
}

// Close refuses all later writes with ErrClosed, waits for the one that is under way and closes the journal. Views stay
// what they are.
func (e *Engine) Close() error {
	e.fail(ErrClosed)
	if e.journal == nil {
		return nil
	}
	return e.journal.Close()
}

// Healthy is nil as long as writes are taken, or else why they are not.
func (e *Engine) Healthy() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.broken
}

// fail makes the engine refuse all writes from now on.
func (e *Engine) fail(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken == nil {
		e.broken = why
	}
}

// write is one request to write, in the queue.
type write struct {
	run  func(*draft) error
	err  error
	done chan struct{} // closed when err is known
	lead chan struct{} // closed when this one has to lead
}

// do lets run change the store, once, and returns when that is durable. An error of
// run undoes it, and is returned.
//
// Whoever comes while nobody leads, leads: it makes all that has queued durable at once,
// and hands on to the next that has come meanwhile.
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
		select { // a leader is bound to come by, so that ctx need not be watched
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

// maxBatch is how many writes are made durable at once.
const maxBatch = 256

// leadBatch does what stands in the queue, and names the next leader.
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

// commit runs a batch, makes it durable, shows it, and tells all who wait.
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
			for _, w := range batch { // also of those that changed nothing: they may have seen what was not written
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

// append writes to the journal. After an error of which it is not known what is on disk,
// memory and disk may differ, so that nothing more is written.
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
		broken := fmt.Errorf("%w since a write to disk failed: %w; start it anew, which reads what is on disk", ErrClosed, err)
		if e.fail(broken); e.tell != nil {
			e.tell(broken)
		}
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
}

const (
	graveLife = 15 * time.Minute // as Consul's tombstones
	reapEvery = 30 * time.Second
)

// reap removes graves that are older than graveLife, as a part of change. Without writes
// there are no new graves, and so nothing to reap.
func (e *Engine) reap(s *state, change *Change) *state {
	now := e.now()
	if now.Sub(e.reaped) < reapEvery {
		return s
	}
	e.reaped = now
	next := *s
	txn := s.graves.Txn()
	for path, grave := range all(s.graves.Root(), "") {
		if now.Sub(grave.At) > graveLife {
			txn.Delete([]byte(path))
			change.Reaped = append(change.Reaped, path)
		}
	}
	next.graves = txn.CommitOnly()
	return &next
}
