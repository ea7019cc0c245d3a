package fleet

import (
	"cmp"
	"slices"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// NodeReport is the state of one node, with all of its targets.
type NodeReport struct {
	Node string `json:"node"`
	Host string `json:"host,omitempty"` // of the operating system, if it is another name
	// Agent is the version of the node's agent; "" without one.
	Agent string `json:"agent,omitempty"`
	// Hub is the hub that the agent reports through; "" without one.
	Hub string `json:"hub,omitempty"`
	// Connected: a hub has contact with the agent now. Only a hub knows that.
	Connected bool           `json:"connected"`
	LastSeen  Millis         `json:"last_seen_ms"` // age of the newest report
	ClockOff  Offset         `json:"clock_off_ms,omitempty"`
	Targets   []TargetReport `json:"targets"` // sorted by file
	Omitted   int            `json:"omitted,omitempty"`
}

// TargetReport is one target of a node.
type TargetReport struct {
	Key  string `json:"key"`
	Live uint64 `json:"live_version"` // that nodes should have; 0: unknown, or kvexpress 1.x wrote it
	Line
}

// Keys are the keys that the node's targets name, sorted.
func (n Node) Keys() []kv.Key {
	var keys []kv.Key
	for _, t := range n.Receipt.Targets {
		if k, err := kv.ParseKey(t.Key); err == nil {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// ExamineNode concludes the state of each target of a node. all are its keys. Where a key cannot be read, the node's own words
// stay.
func ExamineNode(roster Roster, n Node, all []Live, o Options) NodeReport {
	r := NodeReport{Node: n.Name, Host: n.Receipt.Host, Hub: n.Receipt.Hub, Connected: n.Live, Targets: []TargetReport{},
		Omitted: n.Receipt.Omitted}
	sent := byStore(n.Receipt.Sent, n.Receipt.ClockOffset)
	r.LastSeen = Millis(possible(byStore(roster.Read, roster.ClockOffset).Sub(sent)))
	if a := n.Receipt.Agent; a != nil {
		r.Agent, r.LastSeen = a.Version, r.LastSeen+a.Age
	}
	now := scene{now: byStore(roster.Read, roster.ClockOffset)}
	r.ClockOff = cmp.Or(Offset(now.off(n.Receipt.Sent, n.Receipt.ClockOffset)), n.Receipt.NodeClock)
	scenes := make([]scene, len(all))
	parallel(len(all), func(i int) { scenes[i] = newScene(roster, all[i], o) })
	for _, t := range n.Receipt.Targets {
		i := slices.IndexFunc(scenes, func(s scene) bool { return string(s.live.Key) == t.Key })
		if i < 0 {
			r.Targets = append(r.Targets, TargetReport{Key: t.Key, Line: Line{Node: n.Name, File: t.File, By: t.By, Reported: t.Outcome,
				Outcome: outcome.Invalid, Detail: "this is no name of a key"}})
			continue
		}
		s := scenes[i]
		l := s.line(n, t)
		if err := s.live.Err; err != nil {
			l.Outcome, l.Detail = t.Outcome, "as the node reported it: "+err.Error()
		}
		l = s.seen(n, t, l)
		r.LastSeen, r.ClockOff = min(r.LastSeen, l.LastSeen), cmp.Or(r.ClockOff, l.ClockOff)
		r.Targets = append(r.Targets, TargetReport{Key: t.Key, Live: s.wanted.Version, Line: l})
	}
	return r
}
