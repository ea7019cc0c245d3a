package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
)

// candidate is what a target knows of the last rollout that had a candidate for it. The target's mu guards it.
type candidate struct {
	rollout string   // its ID; "": there was none
	inPlace bool     // the file is the candidate
	back    bool     // the file is the current version again, and its exec has run
	failed  *failure // the first one, which is final
	probe   *probe
}

// failure is why a candidate does not work on this node.
type failure struct {
	reason string // check, exec, probe, content, or the word of an outcome
	detail string // one line, without output of commands
	output string // of the command that failed
}

// CandidateStatus is a candidate that is offered to a target, or in place.
type CandidateStatus struct {
	Rollout string              `json:"rollout"`  // its ID
	InPlace bool                `json:"in_place"` // the file is the candidate
	State   rollout.HealthState `json:"state"`
	Reason  string              `json:"reason,omitempty"` // with failed: check, exec, probe, content, or the word of an outcome
	Detail  string              `json:"detail,omitempty"` // why, in one line
}

// remember notes a failure on disk, before a hub is told: so it is final for an agent that starts anew, too.
func (t *target) remember(ctx context.Context, id, why string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rememberLimit)
	defer cancel()
	f := install.Failure{Rollout: id, Reason: why, Detail: brief(err)}
	if err := t.installer.NoteFailed(ctx, t.Target.Target, f); err != nil {
		t.log.Warn("cannot note that a candidate failed; if the agent restarts, it tries the candidate again", "rollout", id,
			"error", oneLine(err.Error()))
	}
}

// rememberLimit limits the wait for another process that works on the file: the hub waits for the failure.
const rememberLimit = time.Second

// recall reads once what the state of the node knows of a candidate.
func (t *target) recall() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.noted {
		return
	}
	t.noted = true
	id, f, err := t.installer.Provisional(t.Target.Target)
	if err != nil {
		return // the install says why
	}
	if id != "" {
		t.candidate = candidate{rollout: id, inPlace: true, probe: &probe{}}
	}
	if f != nil && (id == "" || id == f.Rollout) {
		c := &t.candidate
		c.rollout, c.failed, c.probe = f.Rollout, &failure{reason: f.Reason, detail: f.Detail}, &probe{}
	}
}

// noteCandidate notes what an install says about a candidate. It reports whether the candidate has failed: then nothing is tried
// again.
func (t *target) noteCandidate(r install.Result, err error, o outcome.Outcome, reason string) (failed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.candidate
	if id := cmp.Or(r.Offered, r.Provisional); id != "" && id != c.rollout {
		*c = candidate{rollout: id, probe: &probe{}}
	}
	if c.rollout == "" {
		return false
	}
	if r.DiskRead {
		c.inPlace = r.Provisional == c.rollout
	}
	if r.Offered == "" {
		if err == nil {
			c.back = !c.inPlace && !r.ExecPending
		} else if o == outcome.Missing {
			c.back = true // there is nothing to go back to
		}
		return false
	}
	if c.back = false; r.Action == install.Installed || r.Exec != nil {
		c.probe = &probe{} // the service has begun to use the file now
	}
	why := reasonOf(o, reason, err)
	if why != "" && c.failed == nil {
		c.failed = &failure{reason: why, detail: brief(err), output: outputOf(err)}
	}
	return why != ""
}

// groupTried is noteCandidate for the run of a group; mu is held.
func (t *target) groupTried(ran *command.Result, err error) {
	c := &t.candidate
	if c.rollout == "" {
		return
	}
	defer t.stir()
	switch {
	case !c.inPlace:
		c.back = err == nil
	case ran != nil && err != nil && c.failed == nil:
		c.failed = &failure{reason: "exec", detail: brief(err), output: outputOf(err)}
	case ran != nil:
		c.probe = &probe{}
	}
}

// reasonOf is why a candidate has failed; "" if it has not, or if its install goes on later.
func reasonOf(o outcome.Outcome, reason string, err error) string {
	switch {
	case err == nil, o == outcome.Stopped, o == outcome.Locked, o == outcome.Denied, o == outcome.Unreachable:
		return ""
	case o == outcome.Pending:
		return "exec"
	case reason == string(gate.CheckFailed):
		return "check"
	case o == outcome.Refused:
		return "content"
	}
	return string(o)
}

// outputOf is what the command printed that failed.
func outputOf(err error) string {
	var failed *command.Error
	if errors.As(err, &failed) {
		return failed.Output
	}
	return ""
}

// mayTry reports whether a candidate of this rollout may still be worked on: its first failure is final.
func (t *target) mayTry(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.candidate.rollout != id || t.candidate.failed == nil
}

// gaveUp reports whether the file is a candidate that has failed.
func (c *candidate) gaveUp() bool { return c.inPlace && c.failed != nil }

// retries reports whether an exec that is pending runs again.
func (t *target) retries() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.ended.Load() && !t.candidate.gaveUp()
}

// missedOffer is when to look again because an install did not read what the hub offers: the store answered in its place.
func (t *target) missedOffer(offered string) time.Time {
	if id, known := t.source.offered(t.Key); known && id != offered {
		return time.Now().Add(time.Second)
	}
	return time.Time{}
}

// on is the ID of the rollout whose candidate the file is; "": none. Before the first reconcile, the state of the node knows.
func (t *target) on() string {
	t.recall()
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.candidate.inPlace {
		return ""
	}
	return t.candidate.rollout
}

// health is what the target says of the rollout with this ID, which offers its candidate or does not; mu is held.
func (t *target) health(id string, offered bool) rollout.HealthState {
	c, s := &t.candidate, &t.status
	frozen := s.Outcome == outcome.Locked || s.Outcome == outcome.Stopped
	switch {
	case !offered && t.begun.Load() == 0 && (c.rollout != id || c.back):
		return rollout.Back
	case offered && c.rollout == id && c.failed != nil:
		return rollout.Failed
	case frozen:
		return rollout.Frozen
	case offered && c.rollout == id && c.ready(s) && (len(t.Probe) == 0 || c.probe.succeeded):
		return rollout.Healthy
	}
	return rollout.Installing
}

// candidateStatus is nil without a candidate; mu is held.
func (t *target) candidateStatus() *CandidateStatus {
	c := &t.candidate
	if c.rollout == "" || c.back {
		return nil
	}
	s := &CandidateStatus{Rollout: c.rollout, InPlace: c.inPlace, State: t.health(c.rollout, true)}
	if f := c.failed; f != nil {
		s.Reason, s.Detail = f.reason, f.detail
	}
	return s
}

// ready reports whether the candidate is in place, and its exec has run.
func (c *candidate) ready(s *TargetStatus) bool { return c.inPlace && s.Outcome == outcome.Converged }

// settled is when the receipt of a candidate that works so far is due: a second after the candidate was put in place. Most are
// current by then, and one receipt tells both. The zero time: there is no such candidate.
func (a *Agent) settled() (at time.Time) {
	a.mu.Lock()
	running := slices.Clone(a.running)
	a.mu.Unlock()
	for _, t := range running {
		t.mu.Lock()
		if c, p := &t.candidate, t.status.placed; c.inPlace && c.failed == nil && p != nil {
			at = later(at, p.at.Add(receiptEvery))
		}
		t.mu.Unlock()
	}
	return at
}
