package rollouts_test

import (
	"context"
	"sync"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
	"kvexpress/internal/testutil/memnet"
	"kvexpress/internal/wire"
)

// node is a node with an agent that does as it is told, and says so.
type node struct {
	w      *world
	name   string
	labels map[string]string
	state  func(text string) rollout.HealthState // of a candidate; nil: healthy

	mu   sync.Mutex
	pair *memnet.Pair
	done chan struct{}
	text string // of its file
	on   string // the rollout whose candidate it has
	had  []string
	asks int // questions
}

// join connects nodes to a hub.
func (w *world) join(h *hub, names ...string) {
	for _, name := range names {
		n := w.nodes[name]
		if n == nil {
			n = &node{w: w, name: name}
			w.nodes[name] = n
		}
		n.connect(h)
	}
	synctest.Wait()
}

func (n *node) leave() {
	n.mu.Lock()
	pair, done := n.pair, n.done
	n.mu.Unlock()
	if pair != nil {
		pair.Cut()
		<-done
	}
}

func (n *node) connect(h *hub) {
	n.leave()
	pair, done := memnet.New(nil), make(chan struct{})
	h.mu.Lock()
	h.pairs = append(h.pairs, pair)
	h.mu.Unlock()
	go func() { _ = h.fan.Serve(context.Background(), pair.Hub) }()
	n.mu.Lock()
	n.pair, n.done = pair, done
	t := wire.Target{Key: string(hosts), Files: []string{"/etc/hosts"}, Rollout: n.on}
	if n.text != "" {
		t.SHA256 = record.Checksum([]byte(n.text))
	}
	n.mu.Unlock()
	n.send(pair, wire.FromAgent{Hello: &wire.Hello{Node: n.name, Host: n.name, Prefix: "kvexpress", Labels: n.labels, Rollouts: true,
		Targets: []wire.Target{t}}})
	go n.listen(pair, done)
}

func (n *node) send(pair *memnet.Pair, m wire.FromAgent) {
	b, err := wire.Encode(m)
	if err != nil {
		n.w.Error(err)
	}
	_ = pair.Agent.Write(context.Background(), b)
}

// listen installs what it gets, reports every second, and answers questions.
func (n *node) listen(pair *memnet.Pair, done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	messages := make(chan wire.FromHub)
	go func() {
		defer close(messages)
		for {
			b, err := pair.Agent.Read(ctx)
			if err != nil {
				return
			}
			m, err := wire.DecodeFromHub(b)
			if err != nil {
				n.w.Error(err)
			}
			messages <- m
		}
	}()
	ask, beat := uint64(0), time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		select {
		case m, ok := <-messages:
			switch {
			case !ok:
				return
			case m.Snapshot != nil:
				if n.install(m.Snapshot) {
					n.report(pair, rollout.Back, ask)
				}
			case m.Ask != nil:
				ask = m.Ask.ID
				n.mu.Lock()
				n.asks++
				n.mu.Unlock()
			default:
				continue
			}
		case <-beat.C:
			n.send(pair, wire.FromAgent{Beat: &wire.Beat{ID: 1}})
		}
		n.report(pair, "", ask)
	}
}

// install reports whether the node went back.
func (n *node) install(s *wire.Snapshot) (back bool) {
	var offer *rollout.Offer
	text, sum := "", ""
	for _, r := range s.Rows {
		switch r.Name {
		case wire.RolloutRow:
			offer = rollout.ParseOffer(kv.Entry{State: kv.Present, Value: r.Value, Flags: r.Flags})
		case wire.DataRow:
			text = string(r.Value)
		case "checksum":
			sum = string(r.Value)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if text != "" && text != n.text {
		n.text = text
		n.had = append(n.had, text)
	}
	if s.Reason == "" && sum != record.Checksum([]byte(n.text)) {
		n.w.Errorf("%s has %q, and got the checksum of something else without data", n.name, n.text)
	}
	back = n.on != "" && offer == nil && n.text == "one"
	if back {
		return true
	}
	n.on = ""
	if offer != nil {
		n.on = offer.ID
	}
	return false
}

func (n *node) report(pair *memnet.Pair, state rollout.HealthState, ask uint64) {
	n.mu.Lock()
	h := wire.Health{Key: string(hosts), Rollout: n.on, Ask: ask, State: string(rollout.Healthy)}
	switch {
	case state != "":
		h.State = string(state)
		n.on = ""
	case n.state != nil:
		h.State = string(n.state(n.text))
	}
	if h.State == string(rollout.Failed) {
		h.Reason, h.Output = "check", "no such zone"
	}
	n.mu.Unlock()
	if h.Rollout != "" && h.State != "" {
		n.send(pair, wire.FromAgent{Health: &h})
	}
}
