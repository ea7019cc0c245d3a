package agent

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// maxWoken is the size in bytes of the largest data that a watch brings along, and
// maxWokenAll that of all targets together, shared out evenly. At rest a watch is
// answered once a minute, with the row: of larger data it is the checksum that is
// watched.
const (
	maxWoken    = 64 << 10
	maxWokenAll = 256 << 10
)

// target is one file of the node, and the goroutine that keeps it right.
//
// It watches one row: that of the data, or, while it is frozen, the row that
// freezes it. Whatever happens ends in a pass, which is one delivery: what there is
// to do, deliver finds out.
type target struct {
	config.Target
	node    string
	every   time.Duration // between two looks although nothing changed
	layout  kv.Layout
	link    *link
	deliver *install.Installer
	limits  *install.Limits
	group   *group // of targets with the same exec; nil for one of its own
	pace    pace
	log     *slog.Logger

	answers chan answer   // of the source
	kick    chan struct{} // holds one: the group wants a look
	returns bucket
	watched watched

	beyond   atomic.Bool // the maxWatched targets before it are watched, and it is polled
	began    time.Time   // when run began
	admitted bool        // it may have a query that waits
	startAt  time.Time   // and from when on

	reconcile time.Time       // when to look although nothing changed
	retry     time.Time       // when to look because the last pass did not end well; zero: never
	failures  int             // passes that did not end well, in a row
	denied    int             // watches that were refused, in a row
	heldBy    *install.Frozen // what freezes the target
	apart     bool            // data and checksum were of different versions
	blind     bool            // the store went away during the last pass
	readUpTo  uint64          // index of the checksum that the last pass read; 0: there was none
	holdOff   time.Time       // until when a new version is held back; zero: none is
	served    string          // SHA-256 of the last version that was held back for long enough

	newsAt time.Time    // when there was something new; zero: nothing was
	fleet  atomic.Int64 // how many nodes there are, as the last manifest said
	news   chan<- struct{}

	begun  atomic.Int64    // when the pass that runs began, in Unix nanoseconds; 0: none runs
	ended  atomic.Bool     // it runs no more
	told   outcome.Outcome // what the log knows
	detail string          // and why
	output string          // and what the command printed

	mu     sync.Mutex
	status TargetStatus // written by run alone, and by the group
	placed *placed
}

// source tells of the next change of a row. There is one at a time for each target: a query that waits at the store, or
// the poller. A source that knows of a change by itself would answer with the index that it heard of.
type source interface {
	// follow sends one answer, as soon as the row has another index than since; after delay at once if since is 0; and
	// after the wait in any case. If ctx ends, the answer is an error.
	follow(ctx context.Context, q question, answers chan<- answer)
}

// question is what a target asks a source.
type question struct {
	path  string
	since uint64
	delay time.Duration // before it asks
	wait  time.Duration
}

// watched is the row that the watch follows.
type watched struct {
	question
	cancel  context.CancelFunc
	waiting time.Time // since when a query waits at the store; zero: none does

	answered time.Time
}

// answer is what a question came to.
type answer struct {
	path  string
	entry kv.Entry
	err   error
	quiet bool // nothing happened
}

// run keeps the target right until ctx ends.
func (t *target) run(ctx context.Context) {
	t.began = time.Now()
	t.reconcile = t.began.Add(t.splay())
	t.watch(ctx, t.row(), 0, 0)
	for { // a question is under way: whoever takes its answer asks the next one
		timer := time.NewTimer(time.Until(t.due()))
		select {
		case <-ctx.Done():
			timer.Stop()
			t.watched.cancel()
			<-t.answers
			t.leave()
			t.ended.Store(true)
			return
		case a := <-t.answers:
			timer.Stop()
			t.answered(ctx, a)
		case <-t.kick:
			timer.Stop()
			t.look(ctx)
		case <-timer.C:
			t.dueNow(ctx)
		}
	}
}

// row is the row to watch while nothing freezes the target. Data and checksum that
// do not match will, once the checksum changes: kvexpress 1.x writes it last.
func (t *target) row() string {
	if t.apart || t.beyond.Load() || int64(t.status.Size) > t.link.largest.Load() {
		return t.layout.Checksum(t.Key)
	}
	return t.layout.Data(t.Key)
}

// watch begins to follow a row, after a delay, in the place of what was followed so
// far, which has been answered.
func (t *target) watch(ctx context.Context, path string, since uint64, delay time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	q := question{path, since, delay, kv.MaxWait}
	var from source = t.link
	w := watched{cancel: cancel}
	switch {
	case t.beyond.Load():
		t.leave()
		from = t.link.poller
	case since == 0: // it does not wait
	default:
		if rest := t.admit(); rest > 0 {
			from, q.wait = t.link.poller, rest
			if path == t.layout.Data(t.Key) {
				q.path, q.since = t.layout.Checksum(t.Key), max(1, t.readUpTo)
			}
			break
		}
		w.waiting = time.Now().Add(delay)
		if t.link.many.Load() && time.Since(t.began) < youngFor {
			q.wait = youngWait
		}
	}
	w.question = q
	t.watched = w
	from.follow(ctx, q, t.answers)
}

// admit returns how long it is until a query may wait, 0: it may now.
func (t *target) admit() (rest time.Duration) {
	now := time.Now()
	if !t.admitted {
		after, full := t.link.waits.begin(now)
		if full {
			return after
		}
		t.admitted, t.startAt = true, now.Add(after)
	}
	return max(0, t.startAt.Sub(now))
}

// leave gives back what admit took. A query that was not answered goes on at the store, for a little longer than its wait.
func (t *target) leave() {
	if !t.admitted {
		return
	}
	var rest time.Duration
	if w := t.watched; !w.waiting.IsZero() {
		rest = time.Until(w.waiting.Add(w.wait + w.wait/16))
	}
	t.admitted = false
	t.link.waits.end(rest)
}

// wake makes the target look, although nothing changed.
func (t *target) wake() {
	select {
	case t.kick <- struct{}{}:
	default: // it will
	}
}

// again watches in the place of a watch that has not been answered.
func (t *target) again(ctx context.Context, path string, since uint64) {
	t.watched.cancel()
	if a := <-t.answers; a.err != nil {
		t.leave()
	}
	t.watch(ctx, path, since, 0)
}

// answered looks at what a watch said, passes if it says anything, and watches on.
func (t *target) answered(ctx context.Context, a answer) {
	t.watched.cancel()
	t.watched.answered = time.Now()
	since, delay := a.entry.Index, time.Duration(0)
	switch {
	case ctx.Err() != nil:
	case a.err != nil:
		// Whatever is missed is in the answer to a question without an index.
		t.leave()
		since, delay = 0, t.failed(a.err)
	case a.quiet:
	default:
		if a.entry.Index <= t.watched.since {
			// The indexes began anew, or it was woken without a change, as by
			// a restore.
			since = 0
		}
		delay = t.returns.take(time.Now())
		if a.entry.State == kv.Absent && a.path == t.layout.Data(t.Key) && t.state() == outcome.Missing {
			break // for a row that is not there, any write anywhere may be an answer
		}
		t.woken(ctx, a)
		if t.blind || t.readOlder(a) {
			since = 0 // the same
		}
	}
	if a.err == nil && a.entry.State == kv.Present && t.state() == outcome.Missing {
		t.apart = true // as the checksum comes last, and another server may be behind
	}
	path, from := t.next(a.path, since)
	t.watch(ctx, path, from, delay)
}

// readOlder reports whether a pass read a checksum from before the one that woke it.
// Another server answered the read, and is behind: nothing would wake us when it is not.
func (t *target) readOlder(a answer) bool {
	return a.path == t.layout.Checksum(t.Key) && a.entry.State == kv.Present && t.readUpTo < a.entry.Index &&
		t.heldBy == nil && t.retry.IsZero()
}

func (t *target) state() outcome.Outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.Outcome
}

// woken passes because of a change.
func (t *target) woken(ctx context.Context, a answer) {
	var data []byte
	if a.entry.State == kv.Present && a.path == t.layout.Data(t.Key) {
		data = a.entry.Value
	}
	if t.newsAt.IsZero() {
		t.newsAt = t.watched.answered
	}
	t.pass(ctx, data)
}

// next is what to watch now, after path was watched up to since.
func (t *target) next(path string, since uint64) (string, uint64) {
	if held := t.heldBy; held != nil {
		if held.Path == path {
			return path, since
		}
		return held.Path, held.Index
	}
	row := t.row()
	if row != path && since != 0 {
		// Data and checksum of one publish have one index. A change since the last pass has a higher one.
		return row, t.readUpTo
	}
	return row, since
}

// due is when there is something to do although nobody wakes us.
func (t *target) due() time.Time {
	at := t.reconcile
	if !t.retry.IsZero() && t.retry.Before(at) {
		at = t.retry
	}
	if held := t.heldBy; held != nil && !held.Until.IsZero() && held.Until.Before(at) {
		at = held.Until
	}
	if !t.holdOff.IsZero() {
		at = t.holdOff
	}
	return at
}

func (t *target) dueNow(ctx context.Context) {
	now := time.Now()
	if !t.reconcile.After(now) {
		t.reconcile = now.Add(t.every)
	}
	t.retry = time.Time{}
	if err := t.link.away(); err != nil {
		// Once it is back, the watch is answered, and all is found out anew.
		t.heldBy, t.holdOff = nil, time.Time{}
		t.failed(err)
		t.again(ctx, t.watched.path, 0)
		return
	}
	t.look(ctx)
}

// look passes although nothing woke us.
func (t *target) look(ctx context.Context) {
	denied := t.denied > 0
	ok := t.pass(ctx, nil)
	path, since := t.next(t.watched.path, t.watched.since)
	switch {
	case path != t.watched.path, ok && denied: // that watch waits before it asks again
		t.again(ctx, path, since)
	case t.blind:
		t.again(ctx, path, 0) // to be answered once it is back
	}
}
