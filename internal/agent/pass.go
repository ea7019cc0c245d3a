package agent

import (
	"context"
	"errors"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

// pass is one delivery, and what follows from it. It reports whether it went well.
func (t *target) pass(ctx context.Context, data []byte) bool {
	share, err := t.limits.Enter(ctx)
	if err != nil {
		return false // we were told to end
	}
	defer share.Leave()
	began := time.Now()
	t.begun.Store(began.UnixNano())
	defer t.begun.Store(0)
	target := t.Target.Target
	if t.Spread > 0 {
		target.Postpone = t.postpone
	}
	target.Waiting = t.waits
	result, err := t.deliver.InstallData(ctx, target, data, share)
	t.waitsNoMore()
	t.readUpTo = result.Index
	switch {
	case ctx.Err() != nil && err != nil:
		return false // we were told to end
	case err == nil && result.Action == install.Postponed:
		t.wait()
		return false
	}
	t.record(result, err, began)
	return err == nil
}

// waits notes that the target waits for the process that has locked its file.
func (t *target) waits(holder string) {
	if holder != atomicfile.ThisProcess { // whose other work is in the log
		t.log.Warn("the file is locked by another process; waiting for it", "holder", oneLine(holder))
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

// stuckAfter is how much longer than all of its limits together a pass may take.
const stuckAfter = time.Minute

// stuck is since when a pass runs that should be over, or zero.
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

// record notes what a pass came to, and when to look again.
func (t *target) record(r install.Result, err error, began time.Time) {
	state, reason := Judge(r, err)
	t.heldBy, t.denied, t.holdOff, t.blind = r.Frozen, 0, time.Time{}, state == outcome.Unreachable
	switch {
	case r.Mismatch, reason == string(gate.Mismatch):
		t.apart = true
	case r.Action == install.Installed:
		t.apart = false
	}
	t.retry = time.Time{}
	if err == nil {
		t.failures = 0
	} else if backoff := t.pace(state, reason); backoff.Most > 0 {
		t.retry = time.Now().Add(backoff.After(t.failures))
		t.failures++
	}
	if r.Fleet > 0 {
		t.fleet.Store(int64(r.Fleet))
	}
	t.note(r, err, state, reason, began)
	t.newsAt = time.Time{}
	t.tell(r, err, state)
}

// Judge is the one table from what a delivery came to, to a state of the target. The
// reason is a word of gate.Reason or, for what is refused otherwise, the state itself.
func Judge(r install.Result, err error) (outcome.Outcome, string) {
	var refusal *gate.Refusal
	switch {
	case err == nil && r.ExecPending:
		return outcome.Pending, ""
	case err == nil:
		return outcome.Converged, ""
	case errorIs[*gate.Stopped](err):
		return outcome.Stopped, string(outcome.Stopped)
	case errorIs[*gate.Locked](err):
		return outcome.Locked, string(outcome.Locked)
	case errorIs[*gate.Missing](err):
		return outcome.Missing, string(outcome.Missing)
	case errors.As(err, &refusal) && refusal.Reason == gate.WentBack:
		return outcome.Older, string(refusal.Reason)
	case refusal != nil:
		return outcome.Refused, string(refusal.Reason)
	case errorIs[*install.ExecError](err):
		return outcome.Pending, ""
	case errors.Is(err, kv.ErrDenied):
		return outcome.Denied, string(outcome.Denied)
	case errors.Is(err, kv.ErrUnreachable), errors.Is(err, kv.ErrNotStore):
		return outcome.Unreachable, string(outcome.Unreachable)
	}
	return outcome.Failed, string(outcome.Failed)
}

func errorIs[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// pace is patience, but for tests.
type pace func(outcome.Outcome, string) wait.Backoff

// patience is when to look again after a pass that did not end well; none where
// only a change can help, and that is watched.
func patience(s outcome.Outcome, reason string) wait.Backoff {
	switch s {
	case outcome.Pending:
		return wait.Backoff{Least: 2 * time.Second, Most: 2 * time.Minute}
	case outcome.Denied:
		return wait.Backoff{Least: 5 * time.Second, Most: time.Minute}
	case outcome.Failed:
		return wait.Backoff{Least: 2 * time.Second, Most: time.Minute}
	case outcome.Refused:
		switch gate.Reason(reason) {
		case gate.Mismatch, gate.Corrupt, gate.NeedsNewer:
			// What heals it need not touch the row that is watched.
			return wait.Backoff{Least: time.Second, Most: time.Minute}
		case gate.CheckFailed:
			return wait.Backoff{Least: 10 * time.Second, Most: 5 * time.Minute}
		}
	}
	return wait.Backoff{}
}

// note keeps what a pass came to for status and metrics.
func (t *target) note(r install.Result, err error, state outcome.Outcome, reason string, began time.Time) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.status
	s.Counts.Reconciles++
	if r.Check != nil {
		s.Check = r.Check.Output
	}
	switch r.Action {
	case install.Installed, install.Restored:
		s.Counts.Installs++
		s.Changed = &now
	case install.Repaired:
		s.Counts.Repairs++
	}
	switch inPlace := r.Action == install.Installed || r.Action != install.Restored && r.Before == r.SHA256; {
	case r.SHA256 != "" && (err == nil || inPlace):
		s.Version, s.Lineage, s.SHA256, s.Size = r.Version, r.Lineage, r.SHA256, r.Size
	case err != nil && r.DiskRead && r.Before != s.SHA256:
		s.Version, s.Lineage, s.SHA256 = 0, "", r.Before // somebody else's, or not known of which version
	}
	t.place(r, began)
	if err == nil {
		s.Good = &now
	}
	if reason != "" {
		if s.Counts.Refusals == nil {
			s.Counts.Refusals = map[string]uint64{}
		}
		s.Counts.Refusals[reason]++
	}
	s.Reason = ""
	if state == outcome.Refused {
		s.Reason = reason
	}
	t.enter(state, err, now)
	if err == nil && r.ExecPending {
		t.group.owe(t) // with mu held, so that groupRan finds both or none
	}
	if s.Exec != nil {
		if err == nil || state == outcome.Pending || r.Action == install.Installed { // else it did not get that far
			s.Exec.Pending = state == outcome.Pending || r.ExecPending
		}
		s.noteExec(r.Exec, err, now)
		if s.Exec.Pending && !t.retry.IsZero() {
			retry := t.retry
			s.Exec.Retry = &retry
		}
	}
}

// explain is an error with a remedy that leads to our store.
func (t *target) explain(err error) string {
	g := kv.Guide{Role: "node --node " + t.node, Key: string(t.Key)}
	if p := t.layout.Prefix(); p != "kvexpress" {
		g.Flags = append(g.Flags, kv.Flag{Name: "-p", Value: p})
	}
	if addr := t.link.Addr(); addr != "localhost:8500" {
		g.Flags = append(g.Flags, kv.Flag{Name: "-s", Value: addr})
	}
	return oneLine(g.Explain(err))
}

// enter is the change of state; mu is held.
func (t *target) enter(state outcome.Outcome, err error, now time.Time) {
	s := &t.status
	if s.Outcome != state || s.Since == nil {
		s.Outcome, s.Since = state, &now
	}
	s.Detail = ""
	if err != nil {
		s.Detail = t.explain(err)
	}
	s.Brief = brief(err)
	select {
	case t.news <- struct{}{}:
	default: // it is known that there is something new
	}
}

// failed notes a watch that failed, and says how long to wait before the next one.
// The last good file stays.
func (t *target) failed(err error) time.Duration {
	state, reason := Judge(install.Result{}, err)
	delay := time.Duration(0) // the link makes us wait while the store is away
	if state != outcome.Unreachable {
		delay = t.pace(state, reason).After(t.denied)
		t.denied++
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.status.Outcome != state {
		if t.status.Counts.Refusals == nil {
			t.status.Counts.Refusals = map[string]uint64{}
		}
		t.status.Counts.Refusals[reason]++
		if state != outcome.Unreachable { // which the link tells, once for all
			t.log.Warn("the watch failed; the file stays as it is", "error", t.explain(err))
		}
	}
	t.enter(state, err, time.Now())
	return delay
}
