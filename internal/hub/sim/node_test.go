package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/testutil/memnet"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// node is one node with one target.
type node struct {
	w    *world
	name string
	file string
	key  int
	link *link
	gate memnet.Gate           // shut while the process gets no messages
	ways map[*hub]*memnet.Gate // shut while a hub cannot be reached
	far  time.Duration         // the longest time of a message
	lazy int                   // one step of so many in an install takes long
	stop func()

	labels map[string]string

	// The world's mu guards these.
	locked   bool
	unlocked time.Time // when the operator last unlocked it
	frozen   moment    // since when the file is locked or the key is stopped, without a pause

	mu      sync.Mutex
	decided time.Time // when an install read stop and lock for the last time
	best    uint64    // the highest version that was installed
	had     map[uint64]bool
	said    map[string]time.Time // ID of a rollout → when it last said that it is healthy
	heard   []hearing
	pairs   map[*memnet.Pair]bool
}

// hearing is an answer about stop and lock, from a hub or from the store.
type hearing struct {
	ear    *ear // nil: from the store
	seen   span // when the store was read
	at     time.Time
	frozen bool
}

func newNode(w *world, dir string, i int, direct bool) *node {
	n := &node{w: w, name: fmt.Sprint("node-", i), key: i % keys, ways: map[*hub]*memnet.Gate{}, pairs: map[*memnet.Pair]bool{},
		had: map[uint64]bool{}, said: map[string]time.Time{}}
	if w.staged != nil {
		n.key = 0
	}
	n.file = filepath.Join(dir, n.name, string(key(n.key)))
	n.far = []time.Duration{time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond}[w.plan.IntN(3)]
	n.lazy = []int{5, 20, 100}[w.plan.IntN(3)]
	n.link = newLink(w, n.name)
	c := config.Config{
		Layout: w.layout, Node: n.name, StateDir: filepath.Join(dir, n.name+".state"), Reconcile: 10 * time.Second, Receipts: true,
		Hubs:    config.Hubs{Direct: direct},
		Targets: []config.Target{{Target: install.Target{Key: key(n.key), File: n.file}}},
	}
	if w.staged != nil {
		t := &c.Targets[0]
		t.MinLines, t.Exec, t.ExecTimeout = 10, []string{"grep", "-q", string(good), n.file}, time.Minute
		n.labels = labelsOf(i)
		c.Labels = n.labels
	}
	for _, h := range w.hubs {
		n.ways[h] = &memnet.Gate{}
		c.Hubs.Addrs = append(c.Hubs.Addrs, h.name)
	}
	random := seeded(w.plan.Uint64(), 2)
	a, err := agent.New(agent.Options{
		Random: func() float64 { n.mu.Lock(); defer n.mu.Unlock(); return random.Float64() },
		Config: c, Host: n.name, Log: w.trace.logger(n.name), Fault: n.step,
		Open: func(config.Store) ([]agent.Store, error) { return []agent.Store{&mouth{n.link, n}}, nil },
		Hubs: func(config.Config) (agent.Uplink, error) {
			return agent.Uplink{Dial: n.dial, Token: func() (string, error) { return "", nil }}, nil
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	n.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	}
	return n
}

func (n *node) end() { n.stop() }

// step is called before each step of an install.
func (n *node) step(p install.FaultPoint) error {
	switch p {
	case "rename": // the decision and the rename are one
		return nil
	case "sync-dir":
		n.installed()
		return nil
	case install.AtInstalled, install.AtUnlock:
		return nil
	}
	if n.w.faulty() && n.w.chance(n.lazy) {
		pass(n.w.upTo(4 * time.Second))
	}
	if p == install.AtRead || p == install.AtReadData || p == install.AtReadAgain {
		n.mu.Lock()
		n.decided = time.Now()
		n.mu.Unlock()
	} else if n.w.faulty() && n.w.chance(500) {
		return errors.New("no space left on device")
	}
	return nil
}

// dial connects to a hub.
func (n *node) dial(ctx context.Context, addr string) (wire.Conn, error) {
	for h, way := range n.ways {
		if h.name != addr {
			continue
		}
		for _, g := range []*memnet.Gate{&n.gate, way, &h.gate} {
			if opened := g.Opened(); opened != nil {
				select {
				case <-opened:
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
			}
		}
		if err := wait.For(ctx, n.w.upTo(n.far)); err != nil {
			return nil, err
		}
		p, err := h.accept(n)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.pairs[p] = true
		return &ear{p.Agent, n, h, h.start, p}, nil
	}
	return nil, errDown
}

// cut ends all connections of the node.
func (n *node) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.pairs {
		p.Cut()
	}
	clear(n.pairs)
}

// version is the version of the file; 0: the file has no version.
func (n *node) version() (number uint64) {
	b, err := os.ReadFile(n.file)
	if err != nil {
		return 0
	}
	var like kind
	_, err = fmt.Sscanf(string(b), string(key(n.key))+" version %d %s\n", &number, &like)
	if err != nil || string(b) != content(n.key, number, like) {
		return 0
	}
	return number
}

// ear is the agent's end of a connection. It notes what the agent hears, and checks what it reports.
type ear struct {
	wire.Conn
	n     *node
	hub   *hub
	start time.Time // of the hub
	pair  *memnet.Pair
}

func (e *ear) Read(ctx context.Context) ([]byte, error) {
	b, err := e.Conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	m, err := wire.DecodeFromHub(b)
	if err != nil {
		return nil, err
	}
	if s := m.Snapshot; s != nil && s.Reason == "" && e.start.Equal(e.hub.start) {
		seen, ok := e.hub.link.saw(s.Read)
		if !ok {
			e.n.w.fail("%s: a snapshot of %s has the time of no read", e.n.name, e.hub.name)
		}
		frozen := len(s.Locks) > 0
		version := ""
		for _, r := range s.Rows {
			frozen = frozen || r.Name == "stop" && len(r.Value) > 0
			if r.Name == "checksum" {
				version = e.n.w.number(string(r.Value))
			}
		}
		e.n.w.trace.log("%s hears from %s: version %s, frozen %v, id %d, read %.3f", e.n.name, e.hub.name, version, frozen, s.ID,
			seen.first.Sub(e.n.w.trace.start).Seconds())
		e.n.hear(hearing{e, seen, time.Now(), frozen})
	}
	return b, nil
}

func (e *ear) Write(ctx context.Context, b []byte) error {
	m, err := wire.DecodeFromAgent(b)
	if err == nil && m.Receipt != nil {
		e.n.report(m.Receipt)
	}
	if err == nil && m.Health != nil && m.Health.State == string(rollout.Healthy) {
		e.n.mu.Lock()
		e.n.said[m.Health.Rollout] = time.Now()
		e.n.mu.Unlock()
	}
	return e.Conn.Write(ctx, b)
}

// Close forgets what came at this moment: the agent may not have read it.
func (e *ear) Close() error {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	delete(e.n.pairs, e.pair)
	now := time.Now()
	for i, h := range e.n.heard {
		if h.ear == e && h.at.Equal(now) {
			e.n.heard[i].frozen = false
			e.n.heard[i].seen = span{}
		}
	}
	return e.Conn.Close()
}

func (n *node) hear(h hearing) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard = append(n.heard, h)
}

// mouth is the agent's way to the store. It notes what the agent hears of stop and lock.
type mouth struct {
	*link
	n *node
}

func (m *mouth) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	began := time.Now()
	rows, err := m.link.Read(ctx, c, paths...)
	if lock := m.w.layout.Lock(m.n.file, m.n.name); err == nil && rows[lock].State != kv.Denied {
		frozen := rows[lock].State == kv.Present || rows[m.w.layout.Stop(key(m.n.key))].State == kv.Present
		m.w.trace.log("%s hears from the store: frozen %v", m.n.name, frozen)
		m.n.hear(hearing{nil, span{began, time.Now()}, time.Now(), frozen})
	}
	return rows, err
}
