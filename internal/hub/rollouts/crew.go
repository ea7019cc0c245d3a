package rollouts

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// maxNodes limits the nodes of a key that are known.
const maxNodes = 100_000

// node is a node with a target for a key, as this hub or a peer knows it.
type node struct {
	fanout.Member
	here   bool   // in contact
	peer   string // address of the hub that has it; "": this one
	health rollout.Health
	heard  time.Duration
	output string // of the command that failed first
	asked  uint64 // the last question that was sent to it
	seq    uint64 // of the track, at the last change
}

// Crew implements fanout.Rollouts.
func (r *Rollouts) Crew(k kv.Key, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tracks[k]
	if t == nil {
		return
	}
	t.crewed = true
	if n := t.nodes[name]; n != nil {
		n.asked = 0 // the question is repeated to a node that connects again
	}
	t.poke()
}

// Health implements fanout.Rollouts.
func (r *Rollouts) Health(k kv.Key, name string, h wire.Health) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tracks[k]
	if t == nil || t.of != h.Rollout {
		return // it comes again every second
	}
	n := t.nodes[name]
	if n == nil || n.peer != "" {
		t.crewed = true
		n = t.node(name)
	}
	said := rollout.Health{State: rollout.HealthState(h.State), Reason: h.Reason, Detail: h.Detail, Ask: h.Ask}
	if t.seq++; t.report(n, said, h.Output, r.now()) {
		t.news()
	}
}

// news notes a change of nodes that a controller must know at once; mu is held.
func (t *track) news() {
	t.urgent = t.seq
	t.poke()
	t.show()
}

// report notes what a node says, and reports whether it says something new; mu is held.
func (t *track) report(n *node, h rollout.Health, output string, heard time.Duration) bool {
	news := n.health != h
	n.health, n.heard, n.seq, n.On = h, heard, t.seq, t.of
	switch h.State {
	case rollout.Failed:
		n.output = cmp.Or(n.output, output)
	case rollout.Back, "":
		n.On = ""
	}
	return news
}

// node is a node, known or new; mu is held.
func (t *track) node(name string) *node {
	n := t.nodes[name]
	if n == nil {
		n = &node{Member: fanout.Member{Node: name}}
		if len(t.nodes) < maxNodes {
			t.nodes[name] = n
		}
	}
	return n
}

// hear reads again which nodes this hub has, if some came or left.
func (t *track) hear() {
	t.r.mu.Lock()
	crewed := t.crewed
	t.crewed = false
	t.r.mu.Unlock()
	if !crewed {
		return
	}
	members := t.r.fanout.Members(t.key)
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.seq++
	t.heard = true
	here := make(map[string]bool, len(members))
	for _, m := range members {
		here[m.Node] = true
		n := t.node(m.Node)
		if n.health.State != "" { // a report is newer than the hello
			m.On = n.On
		}
		if m.On == t.of {
			t.admitted[m.Node] = true
		}
		n.Member, n.here, n.peer, n.seq = m, true, "", t.seq
	}
	for name, n := range t.nodes {
		if n.here && n.peer == "" && !here[name] {
			n.here, n.seq = false, t.seq
		}
	}
	t.urgent = t.seq
	t.show()
}

// all are the nodes for a step, sorted by name; mu is held.
func (t *track) all(snap *feed.Snapshot) []rollout.Node {
	if len(t.sorted) != len(t.nodes) { // a rollout forgets no node
		t.sorted = slices.SortedFunc(maps.Values(t.nodes), func(a, b *node) int { return strings.Compare(a.Node, b.Node) })
	}
	all := make([]rollout.Node, 0, len(t.nodes))
	for _, n := range t.sorted {
		all = append(all, n.seen(snap.Locks))
	}
	return all
}

func (n *node) seen(locks kv.Snapshot) rollout.Node {
	s := rollout.Node{Name: n.Node, Labels: n.Labels, Here: n.here, Old: !n.Rollouts, Probed: n.Probed, On: n.On,
		Health: n.health, Heard: n.heard}
	for _, path := range n.Locks {
		s.Locked = s.Locked || locks[path].State == kv.Present
	}
	return s
}

// ask sends the question of the controller to the nodes of this hub that have not got it.
func (t *track) ask() {
	t.r.mu.Lock()
	ask, id := t.question(), t.of
	if ask == 0 {
		t.r.mu.Unlock()
		return
	}
	var nodes []string
	for name, n := range t.nodes {
		if n.here && n.peer == "" && n.asked < ask && n.health.Ask < ask && t.admitted[name] {
			n.asked = ask
			nodes = append(nodes, name)
		}
	}
	t.r.mu.Unlock()
	if len(nodes) > 0 {
		t.r.fanout.Ask(t.key, wire.Ask{Key: string(t.key), Rollout: id, ID: ask}, nodes)
	}
}

// question is the number of the last question: of this controller, or of the one that asks through this hub; mu is held.
func (t *track) question() uint64 {
	if t.row == nil || !t.row.State.Offers() {
		return 0
	}
	switch {
	case t.row.Controller != t.r.me:
		return t.posted
	case t.memory.Asked:
		return t.memory.Ask
	}
	return 0 // the number is for the end of the stage
}
