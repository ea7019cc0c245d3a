package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
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
	// hung is how long the last look may take, at the end of a wait, before it says
	// nothing.
	hung = 3 * time.Second
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
	Expiry  time.Duration // see Options
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
		return fmt.Sprintf("%s: no node reports this key after %s; run agents, or `out` without --no-receipt", r.Key, e.Timeout)
	}
	left := ""
	if n := len(r.LeftOut); n > 0 {
		left = fmt.Sprintf(" (the receipts of %d more nodes were not read)", n)
	}
	return fmt.Sprintf("%s: %d of %d nodes up to date after %s%s, wanted %s; `kvexpress status -k %[1]s` lists the others", r.Key,
		r.Converged, r.Nodes, e.Timeout, left, percent(e.Share))
}

// Unknown is a wait whose result is unknown: at its end the store was unreachable. It wraps the cause.
type Unknown struct {
	Key    kv.Key
	Report *Report // of the last look that succeeded; nil: none did
	Ago    time.Duration
	Cause  error
}

func (e *Unknown) Error() string {
	if e.Report == nil {
		return fmt.Sprintf("%s: unknown how many nodes are up to date: %v", e.Key, e.Cause)
	}
	return fmt.Sprintf("%s: unknown how many nodes are up to date; %s ago it was %d of %d: %v",
		e.Key, e.Ago.Round(time.Second), e.Report.Converged, e.Report.Nodes, e.Cause)
}

func (e *Unknown) Unwrap() error { return e.Cause }

// percent is a share for people: 99 %, 99.5 %.
func percent(share float64) string { return fmt.Sprintf("%g %%", float64(int(share*10000+0.5))/100) }

// Wait looks at the receipts until enough nodes have a version, or the time is up.
// While the store cannot be reached it goes on trying. The error is a *NotReached, an
// *Unknown, a *gate.Missing, or one that no waiting helps against, such as
// kv.ErrDenied. The report is that of the last look.
func (r *Reader) Wait(ctx context.Context, g Goal) (Report, Seen, error) {
	w := waiting{Reader: r, goal: g, began: time.Now(), report: Report{Key: string(g.Key)}, first: map[string]time.Duration{}}
	limited, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	for {
		asked := time.Now()
		err := w.look(limited)
		if err == nil && w.reached() {
			return w.report, w.seen(), nil
		}
		if err != nil && limited.Err() == nil && !away(err) {
			return w.report, w.seen(), err
		}
		if wait.For(limited, time.Until(asked.Add(w.pace(err)))) != nil {
			return w.end(ctx)
		}
	}
}

// pace is how long after a look the next one begins.
func (w *waiting) pace(err error) time.Duration {
	switch n := len(w.roster.Nodes); {
	case err != nil:
		return retryEvery
	case n == 0: // there is nothing to wait for a change of
		return mostLook
	default:
		return min(mostLook, leastLook+time.Duration(n)*perReceipt)
	}
}

// end looks once more when the time is up: it tells how many nodes have arrived, and
// whether the key is still there, or that this is unknown.
func (w *waiting) end(ctx context.Context) (Report, Seen, error) {
	limited, cancel := context.WithTimeout(ctx, hung)
	defer cancel()
	w.roster.Index, w.standing = 0, nil
	err := w.look(limited)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: the wait was ended: %w", w.goal.Key, context.Cause(ctx))
	case err != nil && away(err):
		err = w.unknown(err)
	case err == nil && !w.reached():
		err = &NotReached{Report: w.report, Share: w.goal.Share, Timeout: w.goal.Timeout}
	}
	return w.report, w.seen(), err
}

// away reports whether an error is that of a store that cannot be asked.
func away(err error) bool {
	return errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore)
}

// waiting is a wait on its way.
type waiting struct {
	*Reader
	goal     Goal
	began    time.Time
	standing *Standing
	roster   Roster
	report   Report    // of the last look that succeeded
	looked   time.Time // when it did; zero: none did
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
		all, err := w.Standings(ctx, roster, w.goal.Key)
		if err != nil {
			w.roster.Index = 0 // what it has was not looked at: the next look waits for no change
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
	w.report = Examine(w.roster, *w.standing, Options{Expiry: w.goal.Expiry, Wanted: w.goal.Want, Began: w.goal.Began})
	w.looked = time.Now()
	w.note()
	if w.goal.Progress != nil {
		w.goal.Progress(w.report)
	}
	return nil
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
		if age, ok := w.placed(n); ok {
			w.first[n.Name] = w.roster.Read.Sub(w.goal.Began) - age
		}
	}
}

// placed is how long before its receipt the last file of a node was in place; ok is false
// unless all of them are.
func (w *waiting) placed(n Node) (age time.Duration, ok bool) {
	for _, t := range n.Receipt.Targets {
		switch {
		case t.Key != string(w.goal.Key):
			continue
		case t.SHA256 != w.goal.Want.SHA256 || t.Version != w.goal.Want.Version || t.Placed == nil:
			return 0, false
		case !ok || time.Duration(t.Placed.Age) < age:
			age, ok = time.Duration(t.Placed.Age), true
		}
	}
	return age, ok
}

func (w *waiting) reached() bool {
	r := w.report
	return r.Nodes > 0 && float64(r.Converged) >= w.goal.Share*float64(r.Nodes+len(r.LeftOut))-1e-9
}

// seen leaves out what was in place before the wait began.
func (w *waiting) seen() Seen {
	var all []Delivery
	for node, took := range w.first {
		if took >= 0 {
			all = append(all, Delivery{node, took})
		}
	}
	began := w.goal.Began
	if began.IsZero() {
		began = w.began
	}
	return Seen{Delivered: percentiles(all), Took: Millis(time.Since(began))}
}

func (w *waiting) unknown(err error) error {
	u := &Unknown{Key: w.goal.Key, Cause: err}
	if !w.looked.IsZero() {
		u.Report, u.Ago = &w.report, time.Since(w.looked)
	}
	return u
}
