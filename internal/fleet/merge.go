package fleet

import (
	"cmp"
	"slices"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/internal/safetext"
)

// news is one writer's part of a node's receipt: everything that an agent is about,
// or the one target of an `out`.
type news struct {
	agent   *Agent
	targets []Target
	unknown []string // files of which the agent has nothing to say yet
}

// later is what is new as it is to be told at another time: the look at what stands
// takes as long as a request, which is no part of a delivery.
func (n news) later(said, now time.Time) news {
	r := Receipt{Sent: said, Agent: n.agent, Targets: n.targets}.at(now)
	n.agent, n.targets = r.Agent, r.Targets
	return n
}

// merge puts a writer's part into the receipt of its node, which others may have
// written to. An agent's part replaces all that an agent said; the targets of `out`s
// stay, unless they are of the same files.
func merge(old Receipt, n news, node string, now time.Time) Receipt {
	old = old.at(now)
	merged := Receipt{Format: Format, Node: node, Sent: now, Agent: old.Agent, Targets: slices.Clone(n.targets)}
	if n.agent != nil {
		merged.Agent = n.agent
	} else {
		merged.Omitted = old.Omitted // which only the agent knows
	}
	at := map[string]int{}
	for i, t := range merged.Targets {
		at[t.File] = i
	}
	for _, t := range old.Targets {
		i, replaced := at[t.File]
		switch {
		case replaced:
			carry(&merged.Targets[i], t)
		case n.agent == nil || t.By != ByAgent || slices.Contains(n.unknown, t.File):
			merged.Targets = append(merged.Targets, t)
		}
	}
	slices.SortFunc(merged.Targets, func(a, b Target) int { return cmp.Compare(a.File, b.File) })
	return merged
}

// carry keeps which version bytes are of, and how they came to be in place. Who writes
// may not know: it was restarted since, or was held back before it could find out.
func carry(now *Target, before Target) {
	if now.Version == 0 && now.Key == before.Key && now.SHA256 == before.SHA256 {
		now.Lineage, now.Version = before.Lineage, before.Version
	}
	// What an `out` placed again was repaired, or followed a restored store.
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

// at is the receipt as if it had been sent later, by the same clock. One that was set
// back meanwhile does not make anything younger.
func (r Receipt) at(now time.Time) Receipt {
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

// Same reports whether two say the same of a target, whenever they say it.
func Same(a, b Target) bool {
	if a.Exec == nil != (b.Exec == nil) || a.Exec != nil && *a.Exec != *b.Exec {
		return false
	}
	a.Exec, b.Exec, a.Placed, b.Placed = nil, nil, nil, nil
	a.Since, b.Since = 0, 0
	a.Detail, b.Detail = safetext.Cut(a.Detail, MaxDetail), safetext.Cut(b.Detail, MaxDetail)
	return a == b
}
