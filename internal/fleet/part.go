package fleet

import (
	"cmp"
	"slices"
	"time"

	"kvexpress/internal/safetext"
)

// Part is an agent's part of the receipt of its node, as it sends it to a hub. All lengths of time end when it is sent.
type Part struct {
	Clock   time.Time `json:"clock"` // of the node
	Host    string    `json:"host,omitempty"`
	Agent   Agent     `json:"agent"`
	Targets []Target  `json:"targets"`
	// Starting are files that the agent has not reconciled yet: what was reported of them stays.
	Starting []string `json:"starting,omitempty"`
}

// Into puts the part into the receipt of its node. now is when it was received, by the clock that dates the receipt from then
// on: the node's own clock only shows whether it is wrong.
func (p Part) Into(old Receipt, node string, now time.Time) Receipt {
	p.Agent.Age = 0
	if len(p.Targets) > MaxTargets {
		p.Targets = p.Targets[:MaxTargets]
	}
	r := merge(old, Receipt{Sent: now, Agent: &p.Agent, Targets: p.Targets}, p.Starting, now)
	r.Node, r.Lost = node, old.Lost
	if p.Host != node {
		r.Host = safetext.Cut(p.Host, maxFile)
	}
	if off := p.Clock.Sub(now); !p.Clock.IsZero() && off.Abs() > tolerance {
		r.NodeClock = Offset(off)
	}
	r.shorten()
	return r
}

// Others is the receipt with the targets of `out`s in another receipt of the same node, in place of its own.
func (r Receipt) Others(other Receipt) Receipt {
	own := map[string]bool{}
	all := make([]Target, 0, len(r.Targets))
	for _, t := range r.Targets {
		if t.By == ByAgent {
			own[t.File] = true
			all = append(all, t)
		}
	}
	other = other.at(r.Sent)
	for _, t := range other.Targets {
		if t.By != ByAgent && !own[t.File] {
			all = append(all, t)
		}
	}
	r.Targets = all
	slices.SortFunc(r.Targets, func(a, b Target) int { return cmp.Compare(a.File, b.File) })
	return r
}
