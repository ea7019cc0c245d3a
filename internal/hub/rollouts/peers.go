package rollouts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
)

const (
	// PeerPath is where a controller posts a question about a key to the other hubs.
	PeerPath = "/hub/rollout/peer"
	// peerWait is how long a hub waits for a change before it answers, and peerLimit limits the answer beyond it.
	peerWait, peerLimit = time.Second, 3 * time.Second
	// peerLost is after how long without an answer the nodes of a peer are not in contact.
	peerLost = 3 * time.Second
)

// MaxPeerBody limits a question and an answer, in bytes.
const MaxPeerBody = 16 << 20

// Peer is another hub of the fleet.
type Peer struct {
	Addr string
	Post func(ctx context.Context, body []byte) ([]byte, error) // to PeerPath
}

// question is what a controller posts.
type question struct {
	Key     kv.Key `json:"key"`
	Rollout string `json:"rollout"`
	// Admitted are the nodes that get the candidate; nil: as before.
	Admitted []string `json:"admitted,omitempty"`
	Ask      uint64   `json:"ask,omitempty"`
	Since    uint64   `json:"since"` // the Seq of the last answer; 0: all nodes
	Wait     int64    `json:"wait_ms"`
}

// answer has the nodes that changed.
type answer struct {
	Hub   string     `json:"hub"`             // "": it has not read the row yet
	Peers *int       `json:"peers,omitempty"` // how many hubs this one follows; nil: not asked
	Seq   uint64     `json:"seq"`
	Nodes []peerNode `json:"nodes,omitempty"`
}

// peerNode is a node of a peer.
type peerNode struct {
	Node     string            `json:"node"`
	Here     bool              `json:"here,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Locks    []string          `json:"locks,omitempty"` // paths
	Rollouts bool              `json:"rollouts,omitempty"`
	Probed   bool              `json:"probed,omitempty"`
	On       string            `json:"on,omitempty"`
	Health   rollout.Health    `json:"health,omitzero"`
	Age      int64             `json:"age_ms,omitempty"` // of Health
	Output   string            `json:"output,omitempty"`
}

// peer is another hub, as a track knows it. The mu of Rollouts guards it.
type peer struct {
	hub      string // its process
	since    uint64
	sent     int           // how many admitted nodes it knows of
	sending  int           // with the question on its way
	asked    uint64        // the same, for the question to the nodes
	answered time.Duration // when it last answered
	met      bool          // it has answered about this rollout, or cannot be asked
	lost     bool
	again    context.CancelFunc // ends the wait of the question on its way
}

// followPeers asks the other hubs while ctx lasts and this hub is the controller.
func (t *track) followPeers(ctx context.Context) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.peers = map[string]*peer{}
	for _, client := range t.r.o.Peers {
		p := &peer{answered: t.r.now(), again: func() {}}
		t.peers[client.Addr] = p
		t.r.work.Go(func() { t.followPeer(ctx, client, p) })
	}
}

func (t *track) followPeer(ctx context.Context, client Peer, p *peer) {
	for failures := 0; ctx.Err() == nil; {
		q, lasts, changed := t.nextQuestion(ctx, p)
		pause := time.Duration(0)
		if changed != nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
		} else {
			a, err := post(lasts, client, q)
			switch {
			case err == nil:
				failures, pause = 0, least
				t.take(client.Addr, p, q, a)
			case lasts.Err() != nil:
				pause = 0 // there is something new to say
			default:
				if failures++; failures == 1 {
					t.r.o.Log.Warn("cannot ask the peer about a rollout; its nodes count as silent", "key", t.key, "peer", client.Addr,
						"error", err)
				}
				pause = wait.Backoff{Least: 100 * time.Millisecond, Most: time.Second}.After(failures)
				t.lose(client.Addr, p)
			}
		}
		if wait.For(ctx, pause) != nil {
			return
		}
	}
}

// nextQuestion is the next question to a peer, and a context that ends when there is a newer one. If this hub is no controller,
// changed is closed when that may be otherwise.
func (t *track) nextQuestion(ctx context.Context, p *peer) (q question, lasts context.Context, changed <-chan struct{}) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	p.again()
	lasts, p.again = context.WithCancel(ctx)
	if t.row == nil || t.row.State.Ended() || t.row.Controller != t.r.me && !t.claims {
		return q, lasts, t.changed
	}
	q = question{Key: t.key, Rollout: t.of, Ask: t.question(), Since: p.since, Wait: peerWait.Milliseconds()}
	if p.asked, p.sending = q.Ask, len(t.admitted); p.sent != p.sending {
		q.Admitted = slices.Collect(maps.Keys(t.admitted))
	}
	return q, lasts, nil
}

// hurry ends the wait of questions that are outdated; mu is held.
func (t *track) hurry() {
	for _, p := range t.peers {
		if p.sending != len(t.admitted) || p.asked != t.question() {
			p.again()
		}
	}
}

// take takes the answer of a peer.
func (t *track) take(addr string, p *peer, q question, a answer) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	if t.of != q.Rollout {
		return
	}
	now := t.r.now()
	p.answered, p.lost = now, false
	if a.Hub == "" || a.Hub != p.hub && q.Since > 0 { // it was started again
		p.since, p.sent = 0, 0
		return
	}
	p.hub, p.since, p.met = a.Hub, a.Seq, true
	if q.Admitted != nil {
		p.sent = len(q.Admitted)
	}
	news := len(a.Nodes) > 0 || t.claims
	for _, m := range a.Nodes {
		n := t.nodes[m.Node]
		if n != nil && n.peer == "" && n.here || n != nil && n.peer != addr && !m.Here {
			continue // it is connected to another hub
		}
		n = t.node(m.Node)
		n.Member = m.member()
		n.here, n.peer = m.Here, addr
		if m.Health.State != "" {
			on := n.On
			t.report(n, m.Health, safetext.Cut(m.Output, 1<<10), now-time.Duration(m.Age)*time.Millisecond)
			n.On = on
		}
		if n.On == t.of {
			t.admitted[m.Node] = true
		}
	}
	if news {
		t.poke()
		t.show()
	}
}

// lose notes that a peer cannot be asked.
func (t *track) lose(addr string, p *peer) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	if !p.met {
		p.met = true
		t.poke()
	}
	if p.lost || t.r.now()-p.answered < peerLost {
		return
	}
	p.lost, p.since, p.sent = true, 0, 0
	for _, n := range t.nodes {
		if n.peer == addr {
			n.here = false
		}
	}
	t.poke()
	t.show()
}

func post(ctx context.Context, client Peer, q question) (a answer, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, peerWait+peerLimit)
	defer cancel()
	b, err := client.Post(ctx, body)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("the answer of %s cannot be read: %w", client.Addr, err)
	}
	return a, nil
}

// Follows asks another hub how many hubs it follows for rollouts; -1: it does not say.
func (p Peer) Follows(ctx context.Context) (int, error) {
	a, err := post(ctx, p, question{Key: "kvexpress"}) // of any key
	if err != nil || a.Peers == nil {
		return -1, err
	}
	return *a.Peers, nil
}

// Answer answers the question of a controller, whose right the caller has checked.
func (r *Rollouts) Answer(ctx context.Context, body []byte) ([]byte, error) {
	var q question
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("the question cannot be read: %w", err)
	}
	if k, err := kv.ParseKey(string(q.Key)); err != nil || k != q.Key || len(q.Admitted) > maxNodes {
		return nil, errors.New("the question has no valid key, or too many nodes")
	}
	return json.Marshal(r.answer(ctx, q))
}

// answer takes what the controller says, and waits for a change.
func (r *Rollouts) answer(ctx context.Context, q question) answer {
	limited, cancel := context.WithTimeout(ctx, min(time.Duration(q.Wait)*time.Millisecond, peerWait))
	defer cancel()
	if q.Rollout == "" { // for a Preview
		peers := len(r.o.Peers)
		return answer{Hub: r.me, Nodes: r.members(q.Key), Peers: &peers}
	}
	for first := true; ; {
		r.mu.Lock()
		t := r.tracks[q.Key]
		if t == nil || t.of != q.Rollout || t.row == nil || t.row.Controller == r.me || !t.heard {
			// This hub has not read the row yet, or its own nodes.
			r.mu.Unlock()
			_ = wait.For(limited, 20*time.Millisecond)
			if limited.Err() != nil {
				return answer{}
			}
			continue
		}
		if first && (q.Admitted != nil || q.Ask > t.posted) {
			for _, name := range q.Admitted {
				t.admitted[name] = true
			}
			t.posted = max(t.posted, q.Ask)
			t.poke()
		}
		first = false
		if q.Since == 0 || t.urgent > q.Since || limited.Err() != nil {
			a := answer{Hub: r.me, Seq: max(t.seq, 1), Nodes: t.since(q.Since)}
			r.mu.Unlock()
			return a
		}
		changed := t.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-limited.Done():
		}
	}
}

func (n *node) tell() peerNode {
	return peerNode{Node: n.Node, Here: n.here, Labels: n.Labels, Locks: n.Locks, Rollouts: n.Rollouts, Probed: n.Probed, On: n.On,
		Health: n.health, Output: n.output}
}

func (m peerNode) member() fanout.Member {
	return fanout.Member{Node: m.Node, Labels: m.Labels, Locks: m.Locks, Rollouts: m.Rollouts, Probed: m.Probed, On: m.On}
}

// since are the nodes of this hub that changed; mu is held.
func (t *track) since(seq uint64) (all []peerNode) {
	for _, n := range t.nodes {
		if n.peer == "" && n.seq > seq {
			m := n.tell()
			m.Age = (t.r.now() - n.heard).Milliseconds()
			all = append(all, m)
		}
	}
	return all
}
