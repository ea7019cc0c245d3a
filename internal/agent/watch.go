package agent

import (
	"context"
	"errors"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// watch is the subscription to a store: one question at a time, about one row. That is the row of the data, of the checksum
// if the data is large, or, while the target is frozen, the row that freezes it. A query waits at the store, or the poller
// reads the row.
type watch struct {
	*storeSource
	data, checksum string // paths
	began          time.Time
	answers        chan Snapshot // holds one
	returns        bucket        // limits how often the store may answer

	question           // that is under way, or was answered last
	cancel   func()    // ends it
	waiting  time.Time // since when a query waits at the store; zero: none does
	admitted bool      // a query may wait
	startAt  time.Time // and from when on
	refused  int       // answers in a row that were an error of the store
	late     bool      // data is there without a checksum, which 1.x writes last
}

// question is about the next change of a row.
type question struct {
	path  string
	since uint64        // index that is known; 0: answer at once
	delay time.Duration // before the question is asked
	limit time.Duration // answer after it in any case
}

// follow implements source.
func (s *storeSource) follow(k kv.Key, l kv.Layout, _ chan<- struct{}) subscription {
	return &watch{storeSource: s, data: l.Data(k), checksum: l.Checksum(k), answers: make(chan Snapshot, 1), returns: newReturns(),
		began: time.Now(), cancel: func() {}}
}

func (w *watch) updates() <-chan Snapshot { return w.answers }

// next implements subscription.
func (w *watch) next(ctx context.Context, last *Snapshot, has position) {
	path, since, delay := w.path, w.since, time.Duration(0)
	if last != nil {
		w.cancel()
		since, delay = w.answered(last, has)
	} else if w.path != "" && !w.outdated(has) {
		return
	}
	if has.blind {
		since = 0 // to be answered once the store is reachable
	}
	if w.path != "" && last == nil {
		w.cancel()
		if a := <-w.answers; a.Err != nil {
			w.leave()
		}
	}
	path, since = w.row(has, path, since)
	w.ask(ctx, question{path, since, delay, kv.MaxWait}, has)
}

// outdated reports whether the question that is under way does not fit the target any more.
func (w *watch) outdated(has position) bool {
	path, _ := w.row(has, w.path, w.since)
	return path != w.path || has.blind && w.since != 0 ||
		has.ok && w.refused > 0 // it waits before it asks again
}

// answered is the index from which the next question goes on, and how long to wait before it.
func (w *watch) answered(last *Snapshot, has position) (since uint64, delay time.Duration) {
	entry := last.entry()
	switch {
	case last.Err != nil:
		w.leave()
		if !errors.Is(last.Err, kv.ErrUnreachable) && !errors.Is(last.Err, kv.ErrNotStore) { // else the breaker makes us wait
			o, reason := Judge(install.Result{}, last.Err)
			delay = w.pace(o, reason).After(w.refused)
			w.refused++
		}
		return 0, delay // the answer brings what we miss meanwhile
	case last.Quiet:
		return last.index, 0
	}
	w.refused = 0
	w.late = entry.State == kv.Present && has.missing || w.late && has.missing
	since = last.index
	switch {
	case last.index <= w.since:
		since = 0 // the indexes restarted, or the store answered without a change, as after a restore
	case last.row == w.checksum && entry.State == kv.Present && has.index < last.index && has.frozen == nil && !has.retrying:
		since = 0 // another server answered the read, and it is outdated: nothing would wake us when it is not
	}
	return since, w.returns.take(time.Now())
}

// row is the row to follow, after path was followed up to since.
func (w *watch) row(has position, path string, since uint64) (string, uint64) {
	if f := has.frozen; f != nil {
		if f.Path == path {
			return path, since
		}
		return f.Path, f.Index
	}
	row := w.data
	if has.mismatch || w.late || has.polled || int64(has.size) > w.largest.Load() {
		row = w.checksum // 1.x writes it last
	}
	if row != path && since != 0 {
		since = has.index // data and checksum of one publish have one index
	}
	return row, since
}

// ask asks a question in the place of the last one, which has been answered.
func (w *watch) ask(ctx context.Context, q question, has position) {
	ctx, w.cancel = context.WithCancel(ctx)
	polled := has.polled
	w.waiting = time.Time{}
	if polled {
		w.leave()
	} else if q.since != 0 { // else it does not wait
		if rest := w.admit(); rest > 0 {
			polled, q.limit = true, rest
			if q.path == w.data {
				q.path, q.since = w.checksum, max(1, has.index)
			}
		} else {
			w.waiting = time.Now().Add(q.delay)
			if w.many.Load() && time.Since(w.began) < youngFor {
				q.limit = youngWait
			}
		}
	}
	w.question = q
	if polled {
		w.poller.follow(ctx, q, w.answers)
	} else {
		go w.query(ctx, q)
	}
}

// query asks the store, and ends with the answer.
func (w *watch) query(ctx context.Context, q question) {
	_ = wait.For(ctx, q.delay) // Watch asks ctx
	began := time.Now()
	entry, err := w.Watch(ctx, q.path, q.since, q.limit)
	if q.since != 0 && entry.Index == q.since && time.Since(began) > q.limit/2 {
		w.answers <- Snapshot{Err: err, Quiet: true, row: q.path, index: q.since}
		return
	}
	w.answers <- snapshotOf(q.path, entry, err)
}

// snapshotOf is a snapshot of one row.
func snapshotOf(path string, entry kv.Entry, err error) Snapshot {
	return Snapshot{Rows: kv.Snapshot{path: entry}, Err: err, At: time.Now(), row: path, index: entry.Index}
}

// close implements subscription.
func (w *watch) close() {
	w.cancel()
	<-w.answers
	w.leave()
}

// admit returns how long it is until a query may wait; 0: it may now.
func (w *watch) admit() (rest time.Duration) {
	now := time.Now()
	if !w.admitted {
		after, full := w.waits.begin(now)
		if full {
			return after
		}
		w.admitted, w.startAt = true, now.Add(after)
	}
	return max(0, w.startAt.Sub(now))
}

// leave gives back what admit took. A query that was not answered goes on at the store for a little longer than its limit.
func (w *watch) leave() {
	if !w.admitted {
		return
	}
	var rest time.Duration
	if !w.waiting.IsZero() {
		rest = time.Until(w.waiting.Add(w.limit + w.limit/16))
	}
	w.admitted = false
	w.waits.end(rest)
}
