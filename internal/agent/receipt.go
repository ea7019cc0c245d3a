package agent

import (
	"errors"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// maxSent limits the outputs in one receipt, in bytes.
const maxSent = 256 << 10

// receipts is what the node reports of each target that was reconciled, and the files of the other targets.
func (a *Agent) receipts() fleet.Part {
	a.mu.Lock()
	running, sendOutput := slices.Clone(a.running), a.config.Output
	a.mu.Unlock()
	seen := make([]TargetStatus, len(running))
	for i, r := range running {
		seen[i] = r.snapshot()
	}
	room := maxSent
	p := fleet.Part{Clock: time.Now()} // not before: a file may have been put in place a moment ago
	for _, s := range seen {
		if s.Outcome == outcome.Starting {
			p.Starting = append(p.Starting, s.File)
			continue
		}
		p.Targets = append(p.Targets, s.receipt(p.Clock))
		o := fleet.NewOutput(s.Key, s.File, s.Output())
		if room -= len(o.Text); sendOutput && o.Text != "" && room >= 0 {
			p.Outputs = append(p.Outputs, o)
		}
	}
	slices.SortFunc(p.Targets, func(a, b fleet.Target) int { return strings.Compare(a.File, b.File) })
	return p
}

// receipt is what the node reports of a target, with lengths of time up to a moment.
func (s *TargetStatus) receipt(at time.Time) fleet.Target {
	t := fleet.Target{
		By: fleet.ByAgent, Key: s.Key, File: s.File,
		Lineage: s.Lineage, Version: s.Version, SHA256: s.SHA256,
		Outcome: s.Outcome, Reason: s.Reason, Detail: s.Brief, Candidate: s.Candidate != nil && s.Candidate.InPlace,
	}
	if s.Since != nil {
		t.Since = fleet.Millis(at.Sub(*s.Since))
	}
	if e := s.Exec; e != nil {
		t.ExecPending = e.Pending
		if e.Last != nil {
			t.Exec = &fleet.Exec{Exit: e.Exit, Failures: e.Failures}
		}
	}
	if p := s.placed; p != nil && p.sha256 == s.SHA256 && p.version == s.Version {
		t.Placed = &fleet.Placed{Age: fleet.Millis(at.Sub(p.at)), First: p.first, Steps: p.steps}
	}
	return t
}

// placed is how a version was put in place.
type placed struct {
	lineage string
	version uint64
	sha256  string
	at      time.Time
	first   bool // by the first reconcile of a node that had no file, or on the way back from a candidate
	steps   fleet.Steps
}

// place notes an install, but not one of the version that was in place before: that is a repair. mu is held.
func (t *target) place(r install.Result, began time.Time) {
	old := t.status.placed
	if r.Action != install.Installed || r.Placed.IsZero() ||
		old != nil && old.lineage == r.Lineage && old.version == r.Version && old.sha256 == r.SHA256 {
		return
	}
	t.status.placed = &placed{
		lineage: r.Lineage, version: r.Version, sha256: r.SHA256, at: r.Placed,
		first: r.Back || r.Before == "" && t.status.Good == nil && t.status.Outcome != outcome.Missing,
		steps: steps(r),
	}
	if !t.newsAt.IsZero() {
		t.status.placed.steps.Wait = fleet.Millis(max(0, began.Sub(t.newsAt)))
	}
}

func steps(r install.Result) fleet.Steps {
	s := fleet.Steps{Install: fleet.Millis(r.Placed.Sub(r.Began))}
	if r.Exec != nil {
		s.Exec = fleet.Millis(r.Exec.Duration)
	}
	return s
}

// OutReceipt is what an `out` reports of its one install, in an agent's words.
func OutReceipt(r install.Result, err error, now time.Time) fleet.Target {
	o, reason := Judge(r, err)
	t := fleet.Target{
		By: fleet.ByOut, Key: r.Key, File: r.File, Outcome: o, Detail: brief(err),
		ExecPending: r.ExecPending || o == outcome.Pending,
		Lineage:     r.Lineage, Version: r.Version, SHA256: r.SHA256, Candidate: r.Provisional != "",
	}
	if o == outcome.Refused {
		t.Reason = reason
	}
	if err != nil && r.Action != install.Installed && o != outcome.Pending || r.Action == install.Restored {
		t.Lineage, t.Version, t.SHA256 = "", 0, r.Before // the store's version is not in place
	}
	if r.Exec != nil {
		t.Exec = &fleet.Exec{Exit: r.Exec.ExitCode}
	}
	if r.Action == install.Installed && !r.Placed.IsZero() {
		// The first version of a key is new to all of its nodes.
		first := r.Back || r.Before == "" && r.Version != 1
		t.Placed = &fleet.Placed{Age: fleet.Millis(now.Sub(r.Placed)), First: first, Steps: steps(r)}
	}
	return t
}

// brief is an error for the fleet, without the output of a command.
func brief(err error) string {
	var failed *command.Error
	var refusal *gate.Refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal) && refusal.Reason == gate.CheckFailed:
		return "the check of the new file failed"
	case errors.As(err, &failed):
		return oneLine(failed.Brief())
	}
	return oneLine(err.Error())
}
