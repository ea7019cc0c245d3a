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
}

// Engine is the store. It is safe for concurrent use.
type Engine struct {
	journal Journal
	tell    func(error)           // Options.Broken, or nothing
	state   atomic.Pointer[state] // the durable state

	mu         sync.Mutex
	queue      []*write
	committing bool  // a goroutine commits the queue
	broken     error // why no more writes are accepted
}

// Open returns the store with the content of the journal.
func Open(o Options) (*Engine, error) {
	e := &Engine{journal: o.Journal, tell: o.Broken}
	var saved Saved
	if o.Journal != nil {
		if err := o.Journal.Load(&saved); err != nil {
			return nil, errors.Join(fmt.Errorf("read the store: %w", err), o.Journal.Close())
		}
	}
	e.state.Store(restore(&saved))
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
}

// do runs a write and returns when it is durable. An error of run undoes the write, and is returned. Once queued, a write is
// always answered, so ctx does not matter any more.
func (e *Engine) do(ctx context.Context, run func(*draft) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotWritten, err)
	}
	w := &write{run: run, done: make(chan struct{})}
	e.mu.Lock()
	if e.broken != nil {
		defer e.mu.Unlock()
		return e.broken
	}
	e.queue = append(e.queue, w)
	if !e.committing {
		e.committing = true
		go e.commitQueue()
	}
	e.mu.Unlock()
	<-w.done
	return w.err
}

// maxBatch limits the writes of one batch.
const maxBatch = 256

// commitQueue commits the queued writes in batches until the queue is empty.
func (e *Engine) commitQueue() {
	for {
		e.mu.Lock()
		batch := e.queue[:min(len(e.queue), maxBatch)]
		e.queue = e.queue[len(batch):]
		if len(batch) == 0 {
			e.queue, e.committing = nil, false
			e.mu.Unlock()
			return
		}
		broken := e.broken
		e.mu.Unlock()
		e.commit(batch, broken)
	}
}

// commit runs a batch, makes it durable and visible, and wakes the waiting readers.
func (e *Engine) commit(batch []*write, broken error) {
	s := e.state.Load()
	var changes []Change
	var drafts []*draft
	for _, w := range batch {
		if w.err = broken; broken != nil {
			continue
		}
		d := begin(s)
		if w.err = w.run(d); w.err == nil && len(d.touched) > 0 {
			next, change := d.end()
			s, changes, drafts = next, append(changes, change), append(drafts, d)
		}
	}
	if len(changes) > 0 {
		if err := e.append(changes); err != nil {
			for _, w := range batch { // also a write without changes: it may have seen the others
				w.err = err
			}
			drafts = nil
		} else {
			e.state.Store(s)
		}
	}
	for _, w := range batch {
		close(w.done)
	}
	for _, d := range drafts {
		d.rows.Notify()
	}
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
