package fleet

import (
	"cmp"
	"slices"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/internal/safetext"
)

// merge puts one writer's part into the receipt of its node: all targets of an agent, or the one
// target of an `out`. An agent's part replaces all targets of the agent, but those of unknown files,
// which it has not reconciled yet. Targets of `out`s stay, unless they are of the same files. The
// part's lengths of time move to now: the request in between is not part of a delivery.
func merge(old, part Receipt, unknown []string, now time.Time) Receipt {
	old, merged := old.At(now), part.At(now)
	merged.Format = Format
	if part.Agent == nil {
		merged.Agent, merged.Omitted = old.Agent, old.Omitted // only the agent knows it
	}
	at, kept := map[string]int{}, map[string]bool{}
	for _, file := range unknown {
		kept[file] = true
	}
	for i, t := range merged.Targets {
		at[t.File] = i
	}
	for _, t := range old.Targets {
		i, replaced := at[t.File]
		switch {
		case replaced:
			carry(&merged.Targets[i], t)
		case part.Agent == nil || t.By != ByAgent || kept[t.File]:
			merged.Targets = append(merged.Targets, t)
		}
	}
	slices.SortFunc(merged.Targets, func(a, b Target) int { return cmp.Compare(a.File, b.File) })
	return merged
}

// carry keeps what the writer may not know: the version of the bytes in place, and how they were
// installed. It was restarted since, or it was stopped or locked before it could read the version.
func carry(now *Target, before Target) {
	if now.Version == 0 && now.Key == before.Key && now.SHA256 == before.SHA256 {
		now.Lineage, now.Version = before.Lineage, before.Version
	}
	// An `out` that installs the same version again repairs the file, or follows a restored store.
	if (now.Placed == nil || now.By == ByOut && before.Placed != nil) && now.Key == before.Key && now.SHA256 == before.SHA256 &&
		now.Lineage == before.Lineage && now.Version == before.Version {
		now.Placed = before.Placed
	}
	// A run that was stopped or locked did not reach the exec, and does not know whether it is pending.
	ran := now.Outcome == outcome.Converged || now.Outcome == outcome.Pending
	if !ran && now.Key == before.Key && now.SHA256 == before.SHA256 && now.Exec == nil {
		now.ExecPending, now.Exec = now.ExecPending || before.ExecPending, before.Exec
	}
}

// At is the receipt as if it were sent later, by the same clock. A clock that was set back in between
// makes nothing younger.
func (r Receipt) At(now time.Time) Receipt {
	passed := Millis(possible(now.Sub(r.Sent)))
	r.Sent = now
	if r.Agent != nil {
		a := *r.Agent
		a.Age += passed
		if a.Outage != nil {
			o := *a.Outage
			o.Ended += passed
			a.Outage = &o
		}
		r.Agent = &a
	}
	r.Targets = slices.Clone(r.Targets)
	for i := range r.Targets {
		t := &r.Targets[i]
		t.Since += passed
		if t.Placed != nil {
			p := *t.Placed
			p.Age += passed
			t.Placed = &p
		}
	}
	return r
}

// Same reports whether two targets differ in their times only.
func Same(a, b Target) bool {
	if a.Exec == nil != (b.Exec == nil) || a.Exec != nil && *a.Exec != *b.Exec {
		return false
	}
	a.Exec, b.Exec, a.Placed, b.Placed = nil, nil, nil, nil
	a.Since, b.Since = 0, 0
	a.Detail, b.Detail = safetext.Cut(a.Detail, MaxDetail), safetext.Cut(b.Detail, MaxDetail)
	return a == b
}
