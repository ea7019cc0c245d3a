package fanout

import (
	"slices"
	"strings"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wire"
)

// unsure in sub.offered: another version may be on its way.
const unsure = "?"

// Member is a node with a target for a key, which is in contact and has proved its name.
type Member struct {
	Node     string
	Labels   map[string]string
	Locks    []string // paths of the rows that lock its files
	Rollouts bool     // its agent knows candidates
	On       string   // the ID of the rollout whose candidate it had at its hello; "": none
	Probed   bool     // a target has a probe
}

// Members are the nodes of a key, by name.
func (f *Fanout) Members(k kv.Key) []Member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Member
	for s := range f.byKey[k] {
		if m, ok := s.member(k); ok {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Node, b.Node) })
	return all
}

func (s *session) member(k kv.Key) (m Member, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.subs[k]
	if u == nil || !s.there || u.denied != "" {
		return m, false
	}
	m = Member{Node: s.node, Labels: s.labels, Rollouts: s.rollouts, On: u.on, Probed: u.probed}
	for path := range u.files {
		m.Locks = append(m.Locks, path)
	}
	return m, true
}

// Offered sends another version of a key to the nodes that Rollouts now offers another one.
func (f *Fanout) Offered(k kv.Key) {
	snap := f.o.Feed.Latest(k)
	if snap == nil || snap.Err != nil {
		return // the next change tells all nodes
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.byKey[k] {
		s.offered(k, snap)
	}
}

func (s *session) offered(k kv.Key, snap *feed.Snapshot) {
	s.mu.Lock()
	u := s.subs[k]
	s.mu.Unlock()
	if u == nil {
		return
	}
	v, ok := s.version(u, snap)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok && u.ready && u.denied == "" && u.offered != v.Candidate {
		s.mark(u)
		s.wake()
	}
}

// version is the snapshot of a key for this agent; false: it is not known yet.
func (s *session) version(u *sub, snap *feed.Snapshot) (*feed.Snapshot, bool) {
	s.mu.Lock()
	node, knows := s.node, s.rollouts
	s.mu.Unlock()
	if s.f.o.Rollouts == nil || !knows || snap.Err != nil {
		return snap, true
	}
	return s.f.o.Rollouts.Offer(snap, node, u.on)
}

// Ask sends a question to the agents of these nodes.
func (f *Fanout) Ask(k kv.Key, ask wire.Ask, nodes []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, node := range nodes {
		for s := range f.byNode[node] {
			if _, ok := s.member(k); ok {
				s.send(wire.FromHub{Ask: &ask})
			}
		}
	}
}

// health takes a report of an agent.
func (s *session) health(h wire.Health) {
	s.mu.Lock()
	node, there, u := s.node, s.there, s.subs[kv.Key(h.Key)]
	s.mu.Unlock()
	if s.f.o.Rollouts == nil || !there || u == nil || len(h.Rollout) > wire.MaxLabel {
		return
	}
	h.State, h.Reason = safetext.Cut(h.State, wire.MaxLabel), safetext.Line(h.Reason, wire.MaxLabel)
	h.Detail = safetext.Line(h.Detail, kv.MaxReason)
	h.Output = fleet.NewOutput(h.Key, "", h.Output).Text
	s.f.o.Rollouts.Health(u.key, node, h)
}

// crew tells that the node came, left or changed; mu is held.
func (s *session) crew(k kv.Key) {
	if s.f.o.Rollouts != nil {
		s.f.o.Rollouts.Crew(k, s.node)
	}
}
