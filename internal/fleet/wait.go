package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

const (
	// There are leastLook and perReceipt for each receipt between two looks, as each
	// brings all of them, and mostLook at most.
	leastLook  = 25 * time.Millisecond
	perReceipt = 150 * time.Microsecond
	mostLook   = 250 * time.Millisecond
	// idleLook is how long one look waits for a change. What is silent by now shows
	// without one.
	idleLook = 5 * time.Second
	// lastLook is how long the one look may take that is made when the time is up.
	lastLook = 2 * time.Second
	// retryEvery is how long to wait after a look that failed.
	retryEvery = 500 * time.Millisecond
)

// Goal is what is waited for.
type Goal struct {
	Key  kv.Key
	Want *Wanted // nil: the version that stands when the wait begins
	// Share of the nodes that count, above 0 and at most 1.
	Share   float64
	Timeout time.Duration
	Gone    time.Duration // see Options
	// Began is when the version was published, with a monotonic reading; zero: it is
	// not known, and Seen tells no times of deliveries.
	Began time.Time
	// Progress, if set, is called with every look that succeeded.
	Progress func(Report)
}

// Seen is what a wait saw by this machine's clock alone, whatever others are.
type Seen struct {
	// Delivered are the times from Began until a file was in place, at most: until
	// its receipt was seen, less the time that the node held it back.
	Delivered Percentiles `json:"delivered"`
	// Took is how long it was from Began, or else from when the wait began, until
	// enough nodes had it.
	Took Millis `json:"took_ms"`
}

// NotReached is a wait that ended without enough nodes.
type NotReached struct {
	Report  Report
	Share   float64
	Timeout time.Duration
}

func (e *NotReached) Error() string {
	r := e.Report
	if r.Nodes == 0 {
		return fmt.Sprintf("%s: waited for %s, and no node that has reported this key is there to count; run agents, or `out` without --no-receipt", r.Key, e.Timeout)
	}
	return fmt.Sprintf("%s: waited for %s, and it has arrived at %d of %s, where %s are asked for; `kvexpress status -k %s` names the others",
		r.Key, e.Timeout, r.Arrived, nodes(r.Nodes), Percent(e.Share), r.Key)
}

// Unknown is a wait at whose end the store could not be asked. It wraps the cause.
type Unknown struct {
	Key    kv.Key
	Report *Report // of the last look that succeeded; nil: none did
	Ago    time.Duration
	Cause  error
}

func (e *Unknown) Error() string {
	if e.Report == nil {
		return fmt.Sprintf("%s: it is unknown how many nodes have arrived: %v", e.Key, e.Cause)
	}
	return fmt.Sprintf("%s: it is unknown how many nodes have arrived; %s ago %d of %d had: %v",
		e.Key, e.Ago.Round(time.Second), e.Report.Arrived, e.Report.Nodes, e.Cause)
}

func (e *Unknown) Unwrap() error { return e.Cause }

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}

// Percent is a share for people: 99 %, 99.5 %.
func Percent(share float64) string { return fmt.Sprintf("%g %%", float64(int(share*10000+0.5))/100) }

// Wait looks at the receipts until enough nodes have a version, or the time is up.
// While the store cannot be reached it goes on trying. The error is a *NotReached, an
// *Unknown, a *gate.Missing, or one that no waiting helps against, such as
// kv.ErrDenied. The report is that of the last look.
func (r *Reader) Wait(ctx context.Context, g Goal) (Report, Seen, error) {
	w := waiting{Reader: r, goal: g, began: time.Now(), first: map[string]time.Duration{}}
	limited, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	for {
		asked := time.Now()
		err := w.look(limited)
		if err == nil && w.reached() {
			return *w.report, w.seen(), nil
		}
		if err != nil && limited.Err() == nil && !passes(err) {
			return w.last(), w.seen(), err
		}
		if err != nil && limited.Err() == nil {
			w.failed = err
		}
		next := asked.Add(min(mostLook, leastLook+time.Duration(len(w.roster.Nodes))*perReceipt))
		if err != nil {
			next = asked.Add(retryEvery)
		}
		if sleep(limited, time.Until(next)) {
			continue
		}
		return w.end(ctx)
	}
}

// waiting is a wait on its way.
type waiting struct {
	*Reader
	goal     Goal
	began    time.Time
	standing *Standing
	roster   Roster
	report   *Report
	looked   time.Time
	failed   error // of the last look; nil if it succeeded
	// first is when each node was first seen to have the version, less how long
	// before that it had it.
	first map[string]time.Duration
}

func (w *waiting) look(ctx context.Context) error {
	since := w.roster.Index
	if len(w.roster.Nodes) == 0 {
		since = 0
	}
	roster, err := w.Roster(ctx, since, idleLook)
	if err != nil {
		return err
	}
	if roster.Index < since {
		roster.Index = 0 // the indexes began anew
	}
	w.roster = roster
	if w.standing == nil || w.outdated() {
		all, err := w.Standings(ctx, w.goal.Key)
		if err != nil {
			return err
		}
		if err := all[0].Err; err != nil {
			return err
		}
		if !all[0].Exists {
			return &gate.Missing{Name: string(w.goal.Key)}
		}
		w.standing = &all[0]
		if w.goal.Want == nil {
			want := all[0].Current()
			w.goal.Want = &want
		}
	}
	report := w.examine()
	w.report, w.looked, w.failed = &report, time.Now(), nil
	w.note()
	if w.goal.Progress != nil {
		w.goal.Progress(report)
	}
	return nil
}

// examine tells what the receipts come to. A wait is never over because our own clock,
// which may be ahead, has all be silent that have not reported since the publish: without
// it, it has to be over, too. Who has just published needs no more than that.
func (w *waiting) examine() Report {
	o := Options{Gone: w.goal.Gone, Wanted: w.goal.Want}
	with := Examine(w.roster, *w.standing, o)
	justPublished := !w.goal.Began.IsZero()
	if !justPublished && !w.enough(with) {
		return with
	}
	o.withoutUs = true
	without := Examine(w.roster, *w.standing, o)
	if justPublished || !w.enough(without) {
		return without
	}
	return with
}

// end is what there is to say when the time is up: how it is now, or that nobody knows.
// What the last look said may not be so any more: one that waits for a change, a server
// which lost all others answers as if nothing had happened.
func (w *waiting) end(ctx context.Context) (Report, Seen, error) {
	limited, cancel := context.WithTimeoutCause(ctx, lastLook, fmt.Errorf("no answer within %v", lastLook))
	defer cancel()
	w.roster.Index = 0 // no change is waited for
	err := w.look(limited)
	switch {
	case ctx.Err() != nil:
		return w.last(), w.seen(), fmt.Errorf("%s: the wait was ended: %w", w.goal.Key, context.Cause(ctx))
	case err != nil && limited.Err() == nil && !passes(err):
		return w.last(), w.seen(), err
	case err != nil:
		return w.last(), w.seen(), w.unknown(err)
	case w.reached():
		return *w.report, w.seen(), nil
	}
	return *w.report, w.seen(), &NotReached{Report: *w.report, Share: w.goal.Share, Timeout: w.goal.Timeout}
}

// passes reports whether an error may be over in a moment.
func passes(err error) bool {
	return errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore)
}

// outdated reports whether a node speaks of a version that was published after we
// looked at the key.
func (w *waiting) outdated() bool {
	top := w.standing.Current()
	for _, n := range w.roster.Nodes {
		for _, t := range n.Receipt.Targets {
			if t.Key == string(w.goal.Key) && (t.Lineage != top.Lineage || t.Version > top.Version) {
				return true
			}
		}
	}
	return false
}

// note keeps when nodes were first seen to have the version.
func (w *waiting) note() {
	if w.goal.Began.IsZero() {
		return
	}
	for _, n := range w.roster.Nodes {
		if _, known := w.first[n.Name]; known || n.Err != nil {
			continue
		}
		for _, t := range n.Receipt.Targets {
			if t.Key == string(w.goal.Key) && t.SHA256 == w.goal.Want.SHA256 && t.Version == w.goal.Want.Version && t.Placed != nil {
				w.first[n.Name] = w.roster.Read.Sub(w.goal.Began) - time.Duration(t.Placed.Age)
			}
		}
	}
}

func (w *waiting) reached() bool { return w.enough(*w.report) }

func (w *waiting) enough(r Report) bool {
	return r.Nodes > 0 && float64(r.Arrived) >= w.goal.Share*float64(r.Nodes)-1e-9
}

// seen leaves out what was in place before the wait began.
func (w *waiting) seen() Seen {
	var all []timed
	for node, took := range w.first {
		if took >= 0 {
			all = append(all, timed{node, took})
		}
	}
	began := w.goal.Began
	if began.IsZero() {
		began = w.began
	}
	return Seen{Delivered: percentiles(all), Took: Millis(time.Since(began))}
}

func (w *waiting) last() Report {
	if w.report == nil {
		return Report{Key: string(w.goal.Key)}
	}
	return *w.report
}

func (w *waiting) unknown(err error) error {
	cause := w.failed
	switch {
	case cause == nil && passes(err):
		cause = err
	case cause == nil:
		cause = fmt.Errorf("%w: it does not answer", kv.ErrUnreachable)
	}
	u := &Unknown{Key: w.goal.Key, Report: w.report, Cause: cause}
	if w.report != nil {
		u.Ago = time.Since(w.looked)
	}
	return u
}

// sleep waits, and reports whether the context is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(0, d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
