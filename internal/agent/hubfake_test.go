package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// wireEnd is one end of a connection in memory. Messages to a held end wait, as in the buffer of a stopped process.
type wireEnd struct {
	in     chan []byte
	peer   *wireEnd
	closed chan struct{} // of both ends
	once   *sync.Once

	mu    sync.Mutex
	held  bool
	queue [][]byte
}

func wirePair() (agent, hub *wireEnd) {
	closed, once := make(chan struct{}), &sync.Once{}
	agent = &wireEnd{in: make(chan []byte, 4096), closed: closed, once: once}
	hub = &wireEnd{in: make(chan []byte, 4096), closed: closed, once: once, peer: agent}
	agent.peer = hub
	return agent, hub
}

func (e *wireEnd) Peer() string { return "memory" }

func (e *wireEnd) Names() []string { return nil }

func (e *wireEnd) Close() error { e.once.Do(func() { close(e.closed) }); return nil }

func (e *wireEnd) Read(ctx context.Context) ([]byte, error) {
	select {
	case b := <-e.in:
		return b, nil
	case <-e.closed:
		return nil, errors.New("closed")
	case <-ctx.Done():
		_ = e.Close()
		return nil, ctx.Err()
	}
}

func (e *wireEnd) Write(_ context.Context, b []byte) error {
	select {
	case <-e.closed:
		return errors.New("closed")
	default:
	}
	e.peer.mu.Lock()
	defer e.peer.mu.Unlock()
	if e.peer.held {
		e.peer.queue = append(e.peer.queue, b)
	} else {
		e.peer.in <- b
	}
	return nil
}

// hold keeps the messages to this end.
func (e *wireEnd) hold() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held = true
}

// release delivers n of the messages that were kept; -1: all, and later ones at once.
func (e *wireEnd) release(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n < 0 {
		n, e.held = len(e.queue), false
	}
	for _, b := range e.queue[:n] {
		e.in <- b
	}
	e.queue = e.queue[n:]
}

// fakeHub is a hub over the store of a site, in the words of package wire.
type fakeHub struct {
	site    *site
	start   time.Time
	down    atomic.Bool // no connection is accepted
	mute    atomic.Bool // it sends nothing
	age     atomic.Int64
	takes   atomic.Bool // receipts
	taken   atomic.Int64
	refuse  atomic.Pointer[wire.Refused]
	failing atomic.Pointer[wire.Failed] // the answer to all questions

	mu       sync.Mutex
	links    []*fakeLink // that are open
	dials    int
	hellos   []wire.Hello
	confirms []wire.Confirm
	healths  []wire.Health
	offers   map[kv.Key]offered // what nodes get in place of the current version
}

// offered is a candidate, and its rows by their names.
type offered struct {
	rollout.Offer
	rows map[string]kv.Entry
}

// fakeLink is one connection of a fakeHub.
type fakeLink struct {
	*fakeHub
	agent, hub *wireEnd
	hello      wire.Hello
	has        map[string]string
	at         time.Time // of the hello
}

// fakeHubs makes hubs for a site, and its agent follow them.
func fakeHubs(s *site, names ...string) map[string]*fakeHub {
	all := map[string]*fakeHub{}
	for _, name := range names {
		all[name] = &fakeHub{site: s, start: time.Now().Add(-time.Hour)}
	}
	s.config.Hubs = config.Hubs{Addrs: names, Direct: true}
	s.hubs = func(config.Config) (Uplink, error) {
		return Uplink{
			Dial: func(_ context.Context, addr string) (wire.Conn, error) {
				h := all[addr]
				h.mu.Lock()
				defer h.mu.Unlock()
				if h.dials++; h.down.Load() {
					return nil, errors.New("connection refused")
				}
				l := &fakeLink{fakeHub: h, has: map[string]string{}}
				l.agent, l.hub = wirePair()
				h.links = append(h.links, l)
				go l.serve()
				return l.agent, nil
			},
			Token: func() (string, error) { token, _ := s.token.Load().(string); return token, nil },
		}, nil
	}
	return all
}

func (l *fakeLink) send(m wire.FromHub) {
	if l.mute.Load() {
		return
	}
	b, err := wire.Encode(m)
	if m.Snapshot != nil {
		b, err = wire.EncodeData(*m.Snapshot)
	}
	if err != nil {
		panic(err)
	}
	_ = l.hub.Write(context.Background(), b)
}

func (h *fakeHub) clock() int64 { return wire.Clock(h.start, time.Now()) }

func (l *fakeLink) serve() {
	defer func() {
		_ = l.hub.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.links = slices.DeleteFunc(l.links, func(o *fakeLink) bool { return o == l })
	}()
	for {
		select {
		case <-l.hub.closed:
			return
		case b := <-l.hub.in:
			m, err := wire.DecodeFromAgent(b)
			if err != nil {
				return
			}
			l.take(m)
		}
	}
}

func (l *fakeLink) take(m wire.FromAgent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case m.Hello != nil:
		l.hellos = append(l.hellos, *m.Hello)
		l.hello = *m.Hello
		r := l.refuse.Load()
		if !l.at.IsZero() && time.Since(l.at) < time.Second {
			r = &wire.Refused{Reason: wire.Busy, Says: "more than one hello within 1s"}
		}
		if l.at = time.Now(); r != nil {
			l.send(wire.FromHub{Refused: r})
			return
		}
		l.send(wire.FromHub{Welcome: &wire.Welcome{Hub: "fake", Now: l.clock(), Age: l.age.Load(), Agents: 1200, Receipts: l.takes.Load()}})
		for _, t := range m.Hello.Targets {
			l.has[t.Key] = t.SHA256
		}
		for key := range l.has {
			l.send(l.snapshot(key, 0, false))
		}
	case m.Beat != nil:
		l.send(wire.FromHub{Beat: &wire.Beat{ID: m.Beat.ID, Now: l.clock(), Age: l.age.Load()}})
	case m.Receipt != nil:
		l.taken.Add(1)
	case m.Health != nil:
		l.healths = append(l.healths, *m.Health)
	case m.Confirm != nil:
		l.confirms = append(l.confirms, *m.Confirm)
		if f := l.failing.Load(); f != nil {
			l.send(wire.FromHub{Failed: &wire.Failed{ID: m.Confirm.ID, Reason: f.Reason, Says: f.Says}})
			return
		}
		l.send(l.snapshot(m.Confirm.Key, m.Confirm.ID, m.Confirm.Data))
	}
}

// snapshot reads a key now. Data is pushed if the agent does not have it.
func (l *fakeLink) snapshot(key string, id uint64, data bool) wire.FromHub {
	layout, k := l.site.layout, kv.Key(key)
	s := wire.Snapshot{Key: key, ID: id, Read: l.clock()}
	locks := map[string]string{}
	for _, t := range l.hello.Targets {
		for _, file := range t.Files {
			if t.Key == key {
				locks[layout.Lock(file, l.hello.Host)] = file
			}
		}
	}
	paths := append(layout.Rows(k), slices.Collect(maps.Keys(locks))...)
	rows, err := l.site.store.Store.Read(context.Background(), kv.Default, paths...)
	if err != nil {
		panic(err)
	}
	if o, offered := l.offers[k]; offered {
		for name, e := range o.rows {
			rows[layout.Dir(k)+name] = e
		}
		e, err := o.Entry()
		if err != nil {
			panic(err)
		}
		s.Rows = append(s.Rows, wire.Row{Name: wire.RolloutRow, Value: e.Value, Flags: e.Flags})
	}
	if sum := string(rows[layout.Checksum(k)].Value); id == 0 && sum != l.has[key] {
		data, l.has[key] = true, sum
	}
	for path, e := range rows {
		row := wire.Row{Name: path[len(layout.Dir(k)):], Value: e.Value, Flags: e.Flags, Index: e.Index}
		if e.State != kv.Present || row.Name == wire.DataRow && !data {
			continue
		} else if file := locks[path]; file != "" {
			row.Name = file
			s.Locks = append(s.Locks, row)
		} else {
			s.Rows = append(s.Rows, row)
		}
	}
	return wire.FromHub{Snapshot: &s}
}

// push sends the newest snapshot of a key to all agents.
func (h *fakeHub) push(key kv.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		l.send(l.snapshot(string(key), 0, false))
	}
}

// tell sends a message to all agents.
func (h *fakeHub) tell(m wire.FromHub) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		l.send(m)
	}
}

// cut ends all connections, and accepts no more.
func (h *fakeHub) cut() {
	h.down.Store(true)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		_ = l.hub.Close()
	}
}

// link is the only connection.
func (h *fakeHub) link(t *testing.T) *fakeLink {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.links) != 1 {
		t.Fatalf("%d connections, want one", len(h.links))
	}
	return h.links[0]
}

// greeted is the hellos that the hub got, and how many connections were tried.
func (h *fakeHub) greeted() (hellos []wire.Hello, dials int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.hellos), h.dials
}

// last is the last question that the hub got.
func (h *fakeHub) last() wire.Confirm {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.confirms[len(h.confirms)-1]
}

// asked is how many questions the hub got.
func (h *fakeHub) asked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.confirms)
}
