package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

// stuckAfter is how much longer than all of its limits together a reconcile may take.
const stuckAfter = time.Minute

// reconcile is one install, and what follows from it. data is the key's data as it is stored, if the source brought it. It has a
// goroutine of its own, whose stack of 8 KiB and more goes with it: the goroutine of a target that waits keeps 2 KiB.
func (t *target) reconcile(ctx context.Context, data []byte) {
	var install sync.WaitGroup
	install.Go(func() { t.install(ctx, data) })
	install.Wait()
}

func (t *target) install(ctx context.Context, data []byte) {
	share, err := t.limits.Enter(ctx)
	if err != nil {
		return // the agent ends
	}
	defer share.Leave()
	t.recall()
	began := time.Now()
	t.begun.Store(began.UnixNano())
	defer func() { t.begun.Store(0); t.stir() }()
	target := t.Target.Target
	if t.Spread > 0 {
		target.Postpone = t.postpone
	}
	target.Waiting, target.Candidate = t.waits, t.mayTry
	target.Withdrawn = func(id string) <-chan struct{} { return t.source.withdrawn(t.Key, id) }
	result, err := t.installer.InstallData(ctx, target, data, share)
	t.waitsNoMore()
	t.has.index = result.Index
	switch {
	case ctx.Err() != nil && err != nil: // the agent ends
	case err == nil && result.Action == install.Postponed:
		t.postponed()
	case errors.Is(err, install.ErrWithdrawn):
		t.retry = time.Now().Add(time.Second) // if the source does not report it first
	case err == nil && result.Action == install.Kept && result.Offered != "" && t.judged(): // it has failed for good
		t.retry, t.newsAt = t.missedOffer(result.Offered), time.Time{}
	default:
		t.record(ctx, result, err, began)
	}
}

// record notes the result of a reconcile, and when the next one is.
func (t *target) record(ctx context.Context, r install.Result, err error, began time.Time) {
	o, reason := Judge(r, err)
	backoff := t.pace(o, reason)
	if why := reasonOf(o, reason, err); r.Offered != "" && why != "" && t.mayTry(r.Offered) {
		t.remember(ctx, r.Offered, why, err)
	}
	if t.noteCandidate(r, err, o, reason) {
		backoff = wait.Backoff{} // its first failure is final
	}
	t.plan(err, backoff)
	if err == nil {
		t.retry = t.missedOffer(r.Offered)
	}
	t.note(r, err, o, reason, began)
	t.newsAt = time.Time{}
	t.has = position{
		index: r.Index, size: t.status.Size, frozen: r.Frozen, ok: err == nil, retrying: !t.retry.IsZero(),
		missing: o == outcome.Missing, blind: o == outcome.Unreachable,
		mismatch: r.Mismatch || reason == string(gate.Mismatch) || t.has.mismatch && r.Action != install.Installed,
	}
	t.logResult(r, err, o)
}

// judged reports whether the target has had a result since the agent began.
func (t *target) judged() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.Outcome != outcome.Starting
}

// postponed notes that spread holds a new version back.
func (t *target) postponed() {
	t.retry = time.Time{}
	t.has = position{index: t.has.index, size: t.has.size, mismatch: t.has.mismatch}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(outcome.Waiting, nil, now)
	t.status.Detail = "a new version is installed in " + t.holdOff.Sub(now).Round(time.Second).String()
}

// cannotFollow notes that the source cannot follow the key. The last good file stays.
func (t *target) cannotFollow(err error) {
	o, reason := Judge(install.Result{}, err)
	t.has.ok, t.has.missing, t.has.blind = false, false, o == outcome.Unreachable
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status.Outcome != o {
		t.status.Counts.refused(reason)
		if o != outcome.Unreachable { // which the breaker logs, once for all
			t.log.Warn("cannot watch the key; the file stays as it is", "error", t.explain(err))
		}
	}
	t.enter(o, err, time.Now())
}

// Judge is the one table from the result of an install to an outcome. The reason is a word of gate.Reason for refused content,
// else the outcome itself; "" if the file is in place.
func Judge(r install.Result, err error) (o outcome.Outcome, reason string) {
	var refusal *gate.Refusal
	switch {
	case err == nil && r.ExecPending, errorIs[*install.ExecError](err):
		return outcome.Pending, ""
	case err == nil:
		return outcome.Converged, ""
	case errorIs[*gate.Stopped](err):
		o = outcome.Stopped
	case errorIs[*gate.Locked](err):
		o = outcome.Locked
	case errorIs[*gate.Missing](err):
		o = outcome.Missing
	case errors.As(err, &refusal) && refusal.Reason == gate.WentBack:
		return outcome.Older, string(refusal.Reason)
	case refusal != nil:
		return outcome.Refused, string(refusal.Reason)
	case errors.Is(err, kv.ErrDenied):
		o = outcome.Denied
	case errors.Is(err, kv.ErrUnreachable), errors.Is(err, kv.ErrNotStore):
		o = outcome.Unreachable
	default:
		o = outcome.Failed
	}
	return o, string(o)
}

func errorIs[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// waits notes that the target waits for the process that has locked its file.
func (t *target) waits(holder string) {
	if holder != atomicfile.ThisProcess { // whose other work is in the log
		t.log.Warn("another process has locked the file; waiting for it", "holder", oneLine(holder))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Waits = oneLine(holder)
}

func (t *target) waitsNoMore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Waits = ""
}

// stuck is for how long a reconcile has exceeded all of its limits; zero if none has.
func (t *target) stuck(now time.Time) time.Duration {
	begun := t.begun.Load()
	if begun == 0 {
		return 0
	}
	took := now.Sub(time.Unix(0, begun))
	if took < install.Longest(t.Target.Target)+stuckAfter {
		return 0
	}
	return took
}
