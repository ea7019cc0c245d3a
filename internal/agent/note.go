package agent

import (
	"maps"
	"slices"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// note keeps the result of a reconcile for status and metrics.
func (t *target) note(r install.Result, err error, o outcome.Outcome, reason string, began time.Time) {
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
		s.Version, s.Lineage, s.SHA256 = 0, "", r.Before // of an unknown version
	}
	t.place(r, began)
	if err == nil {
		s.Good = &now
	}
	if reason != "" {
		s.Counts.refused(reason)
	}
	s.Reason = ""
	if o == outcome.Refused {
		s.Reason = reason
	}
	t.enter(o, err, now)
	if err == nil && r.ExecPending && r.Action != install.Kept {
		t.group.add(t) // with mu held, so that groupRan finds both or none
	}
	if s.Exec != nil {
		if err == nil || o == outcome.Pending || r.Action == install.Installed { // else it did not get that far
			s.Exec.Pending = o == outcome.Pending || r.ExecPending
		}
		s.noteExec(r.Exec, err, now)
		if s.Exec.Pending && !t.retry.IsZero() {
			retry := t.retry
			s.Exec.Retry = &retry
		}
	}
}

// enter sets the outcome; mu is held.
func (t *target) enter(o outcome.Outcome, err error, now time.Time) {
	s, detail := &t.status, ""
	if err != nil {
		detail = t.explain(err)
	}
	s.answered = s.answered || o != outcome.Unreachable
	if s.Outcome != o || s.Since == nil {
		s.Outcome, s.Since = o, &now
	}
	s.Detail, s.Brief = detail, brief(err)
	select {
	case t.news <- struct{}{}:
	default: // the reporter knows that there is news
	}
}

// explain is an error with a remedy that names our store.
func (n *node) explain(k kv.Key, err error) string {
	g := kv.Guide{Role: "node --node " + n.name, Key: string(k)}
	if p := n.layout.Prefix(); p != "kvexpress" {
		g.Flags = append(g.Flags, kv.Flag{Name: "-p", Value: p})
	}
	if addr := n.source.Addr(); addr != "localhost:8500" {
		g.Flags = append(g.Flags, kv.Flag{Name: "-s", Value: addr})
	}
	return oneLine(g.Explain(err))
}

func (t *target) explain(err error) string { return t.node.explain(t.Key, err) }

// noteExec keeps the result of an exec; the target's mu is held.
func (s *TargetStatus) noteExec(ran *command.Result, err error, now time.Time) {
	s.Exec.Retry = nil
	if ran == nil {
		return
	}
	s.Exec.Last, s.Exec.Exit, s.Exec.Took, s.Exec.Output = &now, ran.ExitCode, fleet.Millis(ran.Duration), ran.Output
	if err == nil {
		s.Exec.Failures = 0
		s.Counts.ExecOK++
	} else {
		s.Exec.Failures++
		s.Counts.ExecFail++
	}
	if s.Counts.ExecSeconds == nil {
		s.Counts.ExecSeconds = make([]uint64, len(ExecBuckets())+1)
	}
	at, _ := slices.BinarySearch(ExecBuckets(), ran.Duration.Seconds())
	s.Counts.ExecSeconds[at]++
	s.Counts.ExecTotal += fleet.Millis(ran.Duration)
}

// refused counts a reconcile that left the file as it is.
func (c *Counts) refused(reason string) {
	if c.Refusals == nil {
		c.Refusals = map[string]uint64{}
	}
	c.Refusals[reason]++
}

// snapshot is a copy of the target's status.
func (t *target) snapshot() TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Polled = t.polled.Load()
	s.Counts.Refusals = maps.Clone(s.Counts.Refusals)
	s.Counts.ExecSeconds = slices.Clone(s.Counts.ExecSeconds)
	s.Candidate = t.candidateStatus()
	if s.placed != nil {
		p := *s.placed
		s.placed = &p
	}
	if s.Exec != nil {
		e := *s.Exec
		s.Exec = &e
		if next := t.group.nextRun(); e.Pending && next.After(time.Now()) && (e.Retry == nil || e.Retry.Before(next)) {
			e.Retry = &next
		}
	}
	return s
}
