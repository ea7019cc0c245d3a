package feed

import (
	"slices"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// question is what a call asks for. One is in flight at a time for each.
type question struct {
	key kv.Key
	how kv.Consistency
}

// call is a read of one key, shared by all who asked before it began.
type call struct {
	question
	data bool // read the data
	done chan struct{}
	// The result, valid when done is closed.
	snap    *Snapshot
	verdict verdict
	err     error
}

// queue has the calls that have not begun.
type queue struct {
	order   []*call
	waiting map[question]*call
	running map[question]bool
	busy    int // transactions in flight
}

func newQueue() queue {
	return queue{waiting: map[question]*call{}, running: map[question]bool{}}
}

// join returns the next call for a key to begin.
func (f *Feed) join(k kv.Key, how kv.Consistency, data bool) (*call, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil, errEnded
	}
	q := question{k, how}
	c := f.queue.waiting[q]
	if c == nil {
		c = &call{question: q, done: make(chan struct{})}
		f.queue.waiting[q] = c
		f.queue.order = append(f.queue.order, c)
	}
	c.data = c.data || data || mustReadData(f.latest(k))
	f.dispatch()
	return c, nil
}

// mustReadData reports whether only the data tells if the key is as it was.
func mustReadData(s *Snapshot) bool {
	return s == nil || s.Err != nil || s.Live.State == record.Damaged
}

// dispatch begins transactions while there are calls and free places.
func (f *Feed) dispatch() {
	for f.runs() && f.queue.busy < parallel {
		calls := f.queue.take()
		if len(calls) == 0 {
			return
		}
		f.queue.busy++
		f.work.Go(func() { f.answer(calls) })
	}
}

// take removes the calls that fit into the next transaction.
func (q *queue) take() (calls []*call) {
	room := kv.MaxOps - shared
	q.order = slices.DeleteFunc(q.order, func(c *call) bool {
		need := 3
		if c.data {
			need = 4
		}
		if q.running[c.question] || need > room || len(calls) > 0 && calls[0].how != c.how {
			return false
		}
		room -= need
		calls = append(calls, c)
		q.running[c.question] = true
		delete(q.waiting, c.question)
		return true
	})
	return calls
}

// answer makes the transaction of some calls.
func (f *Feed) answer(calls []*call) {
	l := f.o.Layout
	var paths []string
	for _, c := range calls {
		paths = append(paths, l.Checksum(c.key), l.Manifest(c.key), l.Stop(c.key))
		if c.data {
			paths = append(paths, l.Data(c.key))
		}
	}
	a, err := f.transaction(f.ctx, calls[0].how, paths)
	var update Update
	for _, c := range calls {
		if c.err = err; err == nil {
			update.add(f.conclude(c, a))
		}
	}
	f.mu.Lock()
	f.queue.busy--
	for _, c := range calls {
		delete(f.queue.running, c.question)
	}
	f.dispatch()
	f.mu.Unlock()
	f.changed(update)
	for _, c := range calls {
		close(c.done)
	}
}

// conclude sets the result of a call from the answer to its transaction, and publishes a snapshot that is whole.
func (f *Feed) conclude(c *call, a *answer) (u Update) {
	f.mu.Lock()
	old := f.latest(c.key)
	f.mu.Unlock()
	c.snap, c.verdict = judge(f.o.Layout, c.key, old, a, c.data) // it may decode much: without the lock
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.verdict == whole {
		var ok bool
		if c.snap, u, ok = f.publish(c.snap); !ok {
			c.verdict = overlaps
		}
	}
	return u
}

// runs reports whether work may begin.
func (f *Feed) runs() bool { return f.ctx != nil && !f.ended }

// end fails the calls that have not begun.
func (f *Feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for _, c := range f.queue.order {
		c.err = errEnded
		close(c.done)
	}
	f.queue.order = nil
	clear(f.queue.waiting)
}
