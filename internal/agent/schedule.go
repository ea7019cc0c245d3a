package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wait"
)

// schedule is when a target reconciles although its source reported no change.
type schedule struct {
	periodic time.Time // every config.Config.Reconcile
	retry    time.Time // because the last reconcile did not go well; zero: never
	failures int       // reconciles in a row that did not go well
	holdOff  time.Time // until when spread holds a new version back; zero: none is held back
	served   string    // SHA-256 of the last version that was held back for long enough
}

// due is when the next reconcile is. While a version is held back, nothing else is due.
func (t *target) due() time.Time {
	if !t.holdOff.IsZero() {
		return t.holdOff
	}
	at := t.periodic
	if !t.retry.IsZero() && t.retry.Before(at) {
		at = t.retry
	}
	if f := t.has.frozen; f != nil && !f.Until.IsZero() && f.Until.Before(at) {
		at = f.Until // the lock on the file ends by itself
	}
	return at
}

// advance moves on, as the reconcile that is due begins now.
func (s *schedule) advance(every time.Duration) {
	now := time.Now()
	if !s.periodic.After(now) {
		s.periodic = now.Add(every)
	}
	s.retry = time.Time{}
}

// plan is the next reconcile after one with a result.
func (s *schedule) plan(err error, backoff wait.Backoff) {
	s.retry, s.holdOff = time.Time{}, time.Time{}
	if err == nil {
		s.failures = 0
	} else if backoff.Most > 0 {
		s.retry = time.Now().Add(backoff.After(s.failures))
		s.failures++
	}
}

// pace is patience, but for tests.
type pace func(o outcome.Outcome, reason string) wait.Backoff

// patience is when to retry after a reconcile that did not go well; zero if only a change helps, which the source reports.
func patience(o outcome.Outcome, reason string) wait.Backoff {
	switch o {
	case outcome.Pending:
		return wait.Backoff{Least: 2 * time.Second, Most: 2 * time.Minute}
	case outcome.Unreachable:
		// A hub that is connected, but was too slow to answer, does not report the change again. While the source is
		// unreachable, a retry makes no request.
		return wait.Backoff{Least: time.Second, Most: time.Minute}
	case outcome.Denied:
		return wait.Backoff{Least: 5 * time.Second, Most: time.Minute}
	case outcome.Failed:
		return wait.Backoff{Least: 2 * time.Second, Most: time.Minute}
	case outcome.Refused:
		switch gate.Reason(reason) {
		case gate.Mismatch, gate.Corrupt, gate.NeedsNewer:
			// The row that heals it may be another than the one that is watched.
			return wait.Backoff{Least: time.Second, Most: time.Minute}
		case gate.CheckFailed:
			return wait.Backoff{Least: 10 * time.Second, Most: 5 * time.Minute}
		}
	}
	return wait.Backoff{}
}

// postpone decides about a new version: each node waits for another part of spread, so that a fleet does not change at
// once. A version waits once, and those that come meanwhile wait with it. A first install does not wait, nor the version
// that a lock has held back: an operator on this node has just lifted the lock.
func (t *target) postpone(sha256 string) bool {
	locked := t.has.frozen != nil && t.has.frozen.Path != t.layout.Stop(t.Key)
	now := time.Now()
	switch {
	case locked, t.status.SHA256 == "", sha256 == t.status.SHA256, sha256 == t.served:
		return false
	case t.holdOff.IsZero():
		t.holdOff = now.Add(t.delay())
	case !t.holdOff.After(now):
		t.served = sha256
		return false
	}
	return true
}

// delay is how long this node holds a new version back. It depends on the node's name alone.
func (t *target) delay() time.Duration {
	return time.Duration(share(t.name) * float64(t.Spread))
}

// splay is when the first periodic reconcile is: anywhere in the interval, by the node's name and the file's.
func (t *target) splay() time.Duration {
	return time.Duration(share(t.name+"\x00"+t.File) * float64(t.every))
}

// share is a number from 0 to 1 that depends on the text alone.
func share(text string) float64 {
	sum := sha256.Sum256([]byte(text))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
