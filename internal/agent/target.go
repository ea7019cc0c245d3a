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

// node is what all targets of a configuration share.
type node struct {
	name      string
	layout    kv.Layout
	every     time.Duration // between two periodic reconciles
	source    source
	installer *install.Installer
	limits    *install.Limits
	pace      pace
	news      chan<- struct{} // there is something to report
	rolled    chan<- struct{} // holds one: there is something to tell a hub about a candidate; nil without hubs
	probes    chan struct{}   // that run
}

// target is one file of the node, and the goroutine that keeps it converged: it waits for a change, or until a reconcile is
// due, and reconciles. The install itself decides what to do.
type target struct {
	config.Target
	*node
	routine
	group  *group // of targets with the same exec; nil for an exec of its own
	log    *slog.Logger
	polled atomic.Bool // the node watches enough other targets

	sub      subscription
	has      position  // after the last reconcile
	newsAt   time.Time // when the source reported the change that is not reconciled yet; zero: there is none
	schedule           // of reconciles without a change
	kick     chan struct{}
	moved    chan struct{} // holds one: the source delivers elsewhere now

	begun  atomic.Int64 // when the reconcile that runs began, in Unix nanoseconds; 0: none runs
	ended  atomic.Bool  // the goroutine has ended
	logged logged       // the last result
	output string       // of a command, as it was logged last

	mu     sync.Mutex
	status TargetStatus // written by the target's goroutine and by its group
	// candidate is written by them and by its probe. noted: the state of the node was asked.
	candidate candidate
	noted     bool
}

// stir wakes what tells hubs about candidates.
func (n *node) stir() {
	select {
	case n.rolled <- struct{}{}:
	default: // it is awake, or there are no hubs
	}
}

// newTarget makes a target that has not begun.
func newTarget(t config.Target, n *node, g *group, log *slog.Logger) *target {
	since := time.Now()
	r := &target{Target: t, node: n, group: g, log: log, kick: make(chan struct{}, 1), moved: make(chan struct{}, 1),
		status: TargetStatus{Key: string(t.Key), File: t.File, Outcome: outcome.Starting, Since: &since}}
	r.sub = n.source.follow(t.Key, n.layout, r.moved)
	if len(t.Exec) > 0 {
		r.status.Exec = &ExecStatus{}
	}
	return r
}

// run keeps the target converged until ctx ends.
func (t *target) run(ctx context.Context) {
	t.periodic = time.Now().Add(t.splay())
	t.follow(ctx, nil)
	for {
		timer := time.NewTimer(time.Until(t.due()))
		select {
		case <-ctx.Done():
			timer.Stop()
			t.sub.close()
			t.ended.Store(true)
			return
		case s := <-t.sub.updates():
			t.updated(ctx, &s)
		case <-t.moved:
			t.follow(ctx, nil)
		case <-t.kick:
			t.reconcile(ctx, nil)
			t.follow(ctx, nil)
		case <-timer.C:
			t.dueNow(ctx)
		}
		timer.Stop()
	}
}

// follow asks the source for the snapshot after last.
func (t *target) follow(ctx context.Context, last *Snapshot) {
	t.has.polled = t.polled.Load()
	t.sub.next(ctx, last, t.has)
}

// updated reconciles if the source reports a change.
func (t *target) updated(ctx context.Context, s *Snapshot) {
	data := s.Rows[t.layout.Data(t.Key)]
	switch {
	case ctx.Err() != nil, s.Quiet:
	case s.Err != nil:
		t.cannotFollow(s.Err)
	case data.State == kv.Absent && t.has.missing && s.row == t.layout.Data(t.Key):
		// The key is still missing: a blocking query on an absent row may return at any write to the store.
	default:
		if t.newsAt.IsZero() {
			t.newsAt = s.At
		}
		var brought []byte
		if data.State == kv.Present {
			brought = data.Value
		}
		t.reconcile(ctx, brought)
	}
	t.follow(ctx, s)
}

// dueNow reconciles, unless the source is unreachable: once it is back, the subscription is answered.
func (t *target) dueNow(ctx context.Context) {
	t.advance(t.every)
	if err := t.source.unreachable(); err != nil {
		t.has.frozen, t.has.blind, t.holdOff = nil, true, time.Time{}
		t.cannotFollow(err)
	} else {
		t.reconcile(ctx, nil)
	}
	t.follow(ctx, nil)
}

// wake makes the target reconcile, although nothing changed.
func (t *target) wake() {
	select {
	case t.kick <- struct{}{}:
	default: // it will
	}
}
