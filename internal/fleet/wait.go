package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

const (
	// readEvery is the least time between two reads of all receipts.
	readEvery = 200 * time.Millisecond
	// readHubEvery is the same for the receipts that changed, from a hub.
	readHubEvery = 25 * time.Millisecond
	// idle is how long one read waits for a change. A node can lose contact without one.
	idle = 5 * time.Second
	// lastRead is the time limit of the read at the end of a wait.
	lastRead = 3 * time.Second
	// retryEvery is how long to wait after a read that failed.
	retryEvery = 500 * time.Millisecond
)

// Goal says which version a wait is for, and on how many nodes.
type Goal struct {
	Key     kv.Key
	Want    *Wanted // nil: the live version when the wait begins
	Share   float64 // of the counted nodes, above 0 and at most 1
	Timeout time.Duration
	Expiry  time.Duration // see Options
	// Began is when the version was published, with a monotonic reading; zero: unknown.
	Began time.Time
	// Progress, if set, is called after each read that succeeded.
	Progress func(Report)
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

// percent is a share for people: 99 %, 99.5 %.
func percent(share float64) string { return fmt.Sprintf("%g %%", float64(int(share*10000+0.5))/100) }

// Unknown is a wait with an unknown result: at its end the store was unreachable. It wraps the cause.
type Unknown struct {
	Key    kv.Key
	Report *Report // of the last read that succeeded; nil: none did
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

// Wait waits until enough nodes have a version, or the time is up. If the store is unreachable, it
// retries. The error is a *NotReached, an *Unknown, a *gate.Missing, or one that no waiting helps
// against, such as kv.ErrDenied. The report is from the last read.
func (r *Reader) Wait(ctx context.Context, g Goal) (Report, error) {
	w := waiting{Reader: r, goal: g, report: Report{Key: string(g.Key)}}
	limited, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	for {
		asked := time.Now()
		err := w.read(limited)
		switch {
		case err == nil && w.reached():
			return w.report, nil
		case err != nil && limited.Err() == nil && !unreachable(err):
			return w.report, err
		}
		pause := readEvery
		if r.Hub != nil {
			pause = readHubEvery
		}
		if err != nil {
			pause = retryEvery
		}
		if wait.For(limited, time.Until(asked.Add(pause))) != nil {
			return w.end(ctx)
		}
	}
}

// waiting is a wait that runs.
type waiting struct {
	*Reader
	goal   Goal
	roster Roster
	report Report    // of the last read that succeeded
	taken  time.Time // when that was; zero: none did
}

// end reads once more when the time is up, without waiting for a change.
func (w *waiting) end(ctx context.Context) (Report, error) {
	limited, cancel := context.WithTimeout(ctx, lastRead)
	defer cancel()
	w.roster.Index = 0
	err := w.read(limited)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("%s: the wait was ended: %w", w.goal.Key, context.Cause(ctx))
	case err != nil && unreachable(err):
		u := &Unknown{Key: w.goal.Key, Cause: err}
		if !w.taken.IsZero() {
			u.Report, u.Ago = &w.report, time.Since(w.taken)
		}
		err = u
	case err == nil && !w.reached():
		err = &NotReached{Report: w.report, Share: w.goal.Share, Timeout: w.goal.Timeout}
	}
	return w.report, err
}

func unreachable(err error) bool {
	return errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrNotStore)
}

func (w *waiting) read(ctx context.Context) error {
	since := w.roster.Index
	if len(w.roster.Nodes) == 0 {
		since = 0
	}
	roster, err := w.Roster(ctx, since, idle)
	if err != nil {
		return err
	}
	if roster.Index < since {
		roster.Index = 0 // the store counts from 1 again
	}
	w.roster = roster
	live, err := w.One(ctx, roster, w.goal.Key)
	if err != nil {
		w.roster.Index = 0 // these receipts are not counted yet: the next read waits for no change
		return err
	}
	if w.goal.Want == nil {
		want := live.Wanted()
		w.goal.Want = &want
	}
	w.report = Examine(w.roster, live, Options{Expiry: w.goal.Expiry, Wanted: w.goal.Want, Began: w.goal.Began})
	w.taken = time.Now()
	if w.goal.Progress != nil {
		w.goal.Progress(w.report)
	}
	return nil
}

func (w *waiting) reached() bool {
	r := w.report
	return r.Nodes > 0 && float64(r.Converged) >= w.goal.Share*float64(r.Nodes+len(r.LeftOut))-1e-9
}
