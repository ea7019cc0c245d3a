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
	// Outputs are of targets whose command failed. The hub keeps them out of the receipt.
	Outputs []Output `json:"outputs,omitempty"`
}

// contactEvery is the interval that an agent of a hub promises. A hub notices within 30 s that a connection is dead, so a node
// that is gone has no contact after 100 s at most.
const contactEvery = Millis(20 * time.Second)

// Into puts the part into the receipt of its node. now is when the hub received it, by its clock, which is offset ahead of the
// store's. It dates the receipt from then on: the node's own clock only shows whether it is wrong.
func (p Part) Into(old Receipt, node, hub string, now time.Time, offset *int64) Receipt {
	p.Agent.Age, p.Agent.Every = 0, contactEvery
	p.Targets, p.Starting = p.Targets[:min(len(p.Targets), MaxTargets)], p.Starting[:min(len(p.Starting), MaxTargets)]
	r := merge(old.by(offset), Receipt{Sent: now, Agent: &p.Agent, Targets: p.Targets}, p.Starting, now)
	r.Node, r.Hub, r.Lost, r.ClockOffset = node, safetext.Cut(hub, maxWord), old.Lost, offset
	if p.Host != node {
		r.Host = safetext.Cut(p.Host, maxFile)
	}
	if off := p.Clock.Sub(byStore(now, offset)); !p.Clock.IsZero() && off.Abs() > ClockTolerance {
		r.NodeClock = Offset(off)
	}
	r.shorten()
	return r
}

// Contact is when a hub or the store last heard of the agent, by the store's clock; zero without an agent.
func (r Receipt) Contact() time.Time {
	if r.Agent == nil {
		return time.Time{}
	}
	return byStore(r.Sent, r.ClockOffset).Add(-time.Duration(r.Agent.Age))
}

// by is the receipt with Sent by another clock, which is offset ahead of the store's.
func (r Receipt) by(offset *int64) Receipt {
	r.Sent, r.ClockOffset = byStore(r.Sent, r.ClockOffset).Add(skew(offset)), offset
	return r
}

// There is the receipt at a moment at which a hub had contact with the agent.
func (r Receipt) There(now time.Time) Receipt {
	r = r.At(now)
	if r.Agent != nil {
		r.Agent.Age = 0 // At has copied it
	}
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
	other = other.by(r.ClockOffset).At(r.Sent)
	for _, t := range other.Targets {
		if t.By != ByAgent && !own[t.File] {
			all = append(all, t)
		}
	}
	r.Targets = all
	slices.SortFunc(r.Targets, func(a, b Target) int { return cmp.Compare(a.File, b.File) })
	return r
}
