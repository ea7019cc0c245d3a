package fanout_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/wire"
)

// stage offers the candidate "new" of the rollout "r1" to some nodes.
type stage struct {
	w *world

	mu      sync.Mutex
	offered map[string]bool
	unknown bool // it cannot be told yet
	of      *feed.Snapshot
	new     *feed.Snapshot
	crew    []string
	said    []wire.Health
	pushing func() // called once, when a push has decided; mu is held
	asked   int
}

func (s *stage) Offer(snap *feed.Snapshot, node, on string) (*feed.Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.offered[node] && on != "r1" {
		return snap, true
	}
	if s.of != snap {
		text, sum, l, k := "new", record.Checksum([]byte("new")), s.w.layout, snap.Key
		s.of, s.new = snap, snap.Offer("r1", record.Live{Key: k, SHA256: sum}, kv.Snapshot{
			l.Data(k):     {State: kv.Present, Value: []byte(text), Index: 9},
			l.Checksum(k): {State: kv.Present, Value: []byte(sum), Index: 9},
			l.Rollout(k):  {State: kv.Present, Value: []byte("offer"), Flags: 1},
		})
	}
	candidate := s.new
	if s.asked++; s.asked == 3 && s.pushing != nil { // after Offered, and before the data was read
		s.pushing()
	}
	return candidate, !s.unknown
}

func (s *stage) Crew(_ kv.Key, node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crew = append(s.crew, node)
}

func (s *stage) Health(_ kv.Key, node string, h wire.Health) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Key = node
	s.said = append(s.said, h)
}

// set changes who gets the candidate, and tells the fanout.
func (s *stage) set(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	s.w.Offered("hosts")
	synctest.Wait()
}

func staged(t *testing.T) (*world, *stage) {
	s := &stage{offered: map[string]bool{}}
	s.w = newWorld(t, func(o *fanout.Options) { o.Rollouts = s })
	s.w.publish("hosts", "old")
	return s.w, s
}

func named(node string, knows bool, t wire.Target) wire.FromAgent {
	m := hello(t)
	m.Hello.Node, m.Hello.Rollouts = node, knows
	return m
}

// versions are what an agent got since the last call: the data, "=" without data, and "!" with an Offer.
func (c *client) versions() (got []string) {
	c.t.Helper()
	synctest.Wait()
	c.send(wire.FromAgent{Beat: &wire.Beat{ID: 1}})
	for {
		m := c.next()
		if m.Beat != nil {
			return got
		}
		if s := m.Snapshot; s != nil {
			text := dataOf(s)
			if text == "" {
				text = "="
			}
			if slices.ContainsFunc(s.Rows, func(r wire.Row) bool { return r.Name == wire.RolloutRow }) {
				text += "!"
			}
			got = append(got, text)
		}
	}
}

func (c *client) expect(versions ...string) {
	c.t.Helper()
	if got := c.versions(); !slices.Equal(got, versions) {
		c.t.Errorf("the agent got %q, want %q", got, versions)
	}
}

// Only nodes that Rollouts names get the candidate, in pushes and in answers; others get nothing of it. When it is no longer offered,
// they get the current version.
func TestOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := staged(t)
		a, b, old := w.connect(t), w.connect(t), w.connect(t)
		a.send(named("a", true, target("hosts", "")))
		b.send(named("b", true, target("hosts", "")))
		old.send(named("old", false, target("hosts", "")))
		for _, c := range []*client{a, b, old} {
			c.expect("old")
		}
		s.set(func() { s.offered["a"], s.offered["old"] = true, true })
		a.expect("new!")
		b.expect()
		old.expect()
		s.set(func() {})
		a.expect()
		for _, c := range []*client{a, b} {
			c.send(wire.FromAgent{Confirm: &wire.Confirm{ID: 5, Key: "hosts", Data: true}})
		}
		a.expect("new!")
		b.expect("old")
		s.set(func() { clear(s.offered) })
		a.expect("old")
		b.expect()
	})
}

// A node that has the candidate gets it again from another hub, and nothing before that hub has read it.
func TestOfferAfterMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := staged(t)
		s.unknown = true
		c := w.connect(t)
		tg := target("hosts", record.Checksum([]byte("new")))
		tg.Rollout = "r1"
		c.send(named("a", true, tg))
		c.expect()
		c.send(wire.FromAgent{Confirm: &wire.Confirm{ID: 5, Key: "hosts"}})
		if m := c.next(); m.Failed == nil || m.Failed.Reason != wire.Unreachable || m.Failed.ID != 5 {
			t.Errorf("the answer is %+v", m)
		}
		s.set(func() { s.unknown = false })
		c.expect("=!")
	})
}

// A change that comes while a version is on its way is sent after it.
func TestOfferDuringPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := staged(t)
		c := w.connect(t)
		c.send(named("a", true, target("hosts", "")))
		c.expect("old")
		s.pushing = func() {
			clear(s.offered)
			s.mu.Unlock()
			defer s.mu.Lock()
			w.Offered("hosts")
		}
		s.set(func() { s.offered["a"] = true })
		c.expect("new!", "old")
	})
}

// Reports of nodes that have proved their name are passed on, without control characters; questions reach the nodes they name.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := staged(t)
		w.denied[w.layout.Node("liar")] = true
		c, liar := w.connect(t), w.connect(t)
		h := named("a", true, target("hosts", ""))
		h.Hello.Labels = map[string]string{"role": "canary"}
		c.send(h)
		liar.send(named("liar", true, target("hosts", "")))
		c.expect("old")
		liar.expect("old")
		all := w.Members("hosts")
		if len(all) != 1 || all[0].Node != "a" || all[0].Labels["role"] != "canary" || len(all[0].Locks) != 1 || !all[0].Rollouts {
			t.Errorf("the members are %+v", all)
		}
		report := wire.FromAgent{Health: &wire.Health{Key: "hosts", Rollout: "r1", State: "failed", Detail: "no\x1b answer", Ask: 3}}
		c.send(report)
		liar.send(report)
		other := *report.Health
		other.Key = "another"
		c.send(wire.FromAgent{Health: &other})
		c.expect()
		liar.expect()
		if len(s.said) != 1 || s.said[0].Key != "a" || s.said[0].Ask != 3 || s.said[0].Detail == report.Health.Detail {
			t.Errorf("the reports are %+v", s.said)
		}
		w.Ask("hosts", wire.Ask{Key: "hosts", Rollout: "r1", ID: 4}, []string{"a", "liar", "nobody"})
		if m := c.next(); m.Ask == nil || m.Ask.ID != 4 {
			t.Errorf("got %+v", m)
		}
		liar.expect()
		s.crew = nil
		c.pair.Cut()
		synctest.Wait()
		if !slices.Contains(s.crew, "a") || w.Members("hosts") != nil {
			t.Errorf("after the node left: %v, %v", s.crew, w.Members("hosts"))
		}
	})
}
