package rollout

import (
	"slices"
	"time"
)

// HealthState is what a node says of a candidate. The words are a part of the protocol between agents and hubs.
type HealthState string

// What a node says. "" is nothing yet.
const (
	Installing HealthState = "installing" // it has begun, and is not done: the install, its exec, its probe
	Healthy    HealthState = "healthy"
	Failed     HealthState = "failed" // final for this rollout
	Back       HealthState = "back"   // it has the current version again
	Frozen     HealthState = "frozen" // stopped, or its file is locked
)

// Health is the report of a node about a rollout.
type Health struct {
	State  HealthState `json:"state"`
	Reason string      `json:"reason,omitempty"` // with Failed: check, exec, probe, content, or another word
	Detail string      `json:"detail,omitempty"` // why, in one line, without output of commands
	Ask    uint64      `json:"ask,omitempty"`    // the number of the last question that the node has seen
}

// Node is a node with a target for the key, as the hubs see it.
type Node struct {
	Name   string
	Labels map[string]string
	Here   bool          // in contact with a hub
	Locked bool          // a target for the key is locked
	Old    bool          // its agent does not know rollouts
	Probed bool          // a target for the key has a probe
	On     string        // the ID of the rollout whose candidate it has; "": none
	Health Health        // its last report for this rollout
	Heard  time.Duration // when that came, on the clock of World.Now
}

// condition of an admitted node, as the controller counts it.
type condition int

const (
	waiting   condition = iota // installing, or nothing is known yet
	healthy                    // it said so, not longer ago than Silence
	failed                     // for good
	silent                     // unavailable: no report for Silence
	leftAlone                  // locked, or forgiven: nothing is expected of it
)

// of is the condition of an admitted node.
func (s *step) of(name string) condition {
	n := s.nodes[name]
	if n == nil {
		n = &Node{}
	}
	_, gaveUp := s.m.Failed[name]
	switch {
	case s.m.Forgiven[name] || n.Locked:
		return leftAlone
	case gaveUp || n.Health.State == Failed:
		return failed
	case s.w.Now-max(n.Heard, s.m.Raised) >= Silence:
		return silent
	case n.Health.State == Healthy && s.w.Now-n.Heard < Silence:
		return healthy
	}
	return waiting
}

// counts of the admitted nodes.
type counts struct {
	healthy, waiting, failed, silent int
	unanswered                       int // healthy, and without an answer to the last question
	before                           int // healthy, by a report from before nodes were last admitted
}

// count counts the admitted nodes. A node that is healthy for the first time is progress.
func (s *step) count() (c counts) {
	for name := range s.m.Admitted {
		switch s.of(name) {
		case healthy:
			c.healthy++
			if s.nodes[name].Health.Ask < s.m.Ask {
				c.unanswered++
			}
			if s.nodes[name].Heard < s.m.Raised {
				c.before++
			}
			if !s.m.Seen[name] {
				s.m.Seen[name], s.m.Progress = true, s.w.Now
			}
		case waiting:
			c.waiting++
		case failed:
			c.failed++
		case silent:
			c.silent++
		}
	}
	c.silent += s.owed()
	return c
}

// unavailable is how many admitted nodes are not healthy.
func (s *step) unavailable() int {
	c := s.count()
	return c.waiting + c.failed + c.silent
}

// named has the names of admitted nodes in a condition.
func (s *step) named(in ...condition) []string {
	var names []string
	for name := range s.m.Admitted {
		if slices.Contains(in, s.of(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
