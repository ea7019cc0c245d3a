package fanout

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

// tick is how often silence and rights are checked.
const tick = time.Second

// Feed is the hub's view of the store: a *feed.Feed.
type Feed interface {
	Use(kv.Key)
	Release(kv.Key)
	Latest(kv.Key) *feed.Snapshot
	Confirm(ctx context.Context, k kv.Key, c kv.Consistency, data bool) (*feed.Snapshot, error)
	Age() time.Duration
}

// Receipts takes the receipts of agents: a *receipts.Table.
type Receipts interface {
	Connected(node string, by int)
	Put(node string, p fleet.Part, size int) error
}

// Rollouts decides which nodes get the candidate of a rollout: a *rollouts.Rollouts. Crew and Health return at once.
type Rollouts interface {
	// Offer returns what a node gets of a snapshot: the same, or that of the candidate. on is the ID of the rollout whose candidate
	// the node has; "": none. false: the candidate is not known yet, and the node gets nothing.
	Offer(snap *feed.Snapshot, node, on string) (*feed.Snapshot, bool)
	// Crew tells that a node with a target for a key came, left or changed.
	Crew(k kv.Key, node string)
	// Health takes the report of a node, which has proved its name.
	Health(k kv.Key, node string, h wire.Health)
}

// Options configure a Fanout.
type Options struct {
	Feed       Feed
	Layout     kv.Layout
	Rights     kv.Permissions // nil: every agent may read and report all
	Receipts   Receipts       // nil: agents write their receipts to the store
	Rollouts   Rollouts       // nil: all nodes get the current version
	Name       string         // of the hub, for people
	Version    string         // of the program
	Datacenter string         // of the store; "": unknown, agents that name one are refused
	MaxAgents  int            // connections
	// ByCertificate: a node has the name in the certificate of its agent, and reports without a right of its token. Else the right
	// to write its receipt proves the name.
	ByCertificate bool
	Log           *slog.Logger
}

// Fanout serves the agents of a hub. Its methods are safe for concurrent use.
type Fanout struct {
	o     Options
	start time.Time     // zero of wire.Clock
	slots chan struct{} // for checks of rights

	mu       sync.Mutex // before the mu of a session
	sessions map[*session]bool
	byKey    map[kv.Key]map[*session]bool
	byLock   map[string]map[*session]kv.Key // path of a lock's row → its readers
	byNode   map[string]map[*session]bool
	frames   map[frameKey]*frame // of the newest snapshots
	subs     int                 // of all sessions
	closing  bool
	counts   Counts
}

// Counts are of a hub since its start.
type Counts struct {
	Agents    int    // connected now
	Accepted  uint64 // hellos
	Refused   uint64
	Pushed    uint64 // snapshots
	Confirmed uint64 // answers to questions
	Slow      uint64 // agents that were disconnected because they did not read
	Twins     int    // node names with more than one live connection
}

// New serves no agent yet. The feed's Changed must call Changed.
func New(o Options) *Fanout {
	return &Fanout{
		o: o, start: time.Now(), sessions: map[*session]bool{}, byKey: map[kv.Key]map[*session]bool{},
		byLock: map[string]map[*session]kv.Key{}, byNode: map[string]map[*session]bool{}, frames: map[frameKey]*frame{},
		slots: make(chan struct{}, checksAtOnce),
	}
}

// Changed tells the agents of an update of the feed.
func (f *Fanout) Changed(u feed.Update) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range u.Keys {
		delete(f.frames, frameKey{k, ""})
		for s := range f.byKey[k] {
			s.changed(k)
		}
	}
	for _, path := range u.Locks {
		for s, k := range f.byLock[path] {
			s.changed(k)
		}
	}
}

// Run ends silent sessions and checks rights again, until ctx ends.
func (f *Fanout) Run(ctx context.Context) {
	var rights sync.WaitGroup
	defer rights.Wait()
	rights.Go(func() { f.checkRights(ctx) })
	for wait.For(ctx, tick) == nil {
		now := time.Now()
		for _, s := range f.all() {
			s.endSilent(now)
		}
		f.rest()
	}
}

// rest drops frames, which are needed only while many agents get one snapshot, and counts twins.
func (f *Fanout) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.frames)
	twins := 0
	for node, all := range f.byNode {
		if len(all) < 2 {
			continue
		}
		live := 0
		for s := range all {
			if time.Since(s.heardAt()) < wire.BeatEvery+wire.BeatEvery/2 {
				live++
			}
		}
		if live < 2 {
			continue
		}
		twins++
		for s := range all {
			if !s.twin {
				s.twin = true
				f.o.Log.Warn("two nodes have one name; give each its own name (node in agent.yml)", "node", node, "from", s.conn.Peer())
			}
		}
	}
	f.counts.Twins = twins
}

func (f *Fanout) all() []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*session, 0, len(f.sessions))
	for s := range f.sessions {
		all = append(all, s)
	}
	return all
}

// Counts are the hub's counts now.
func (f *Fanout) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.counts
	c.Agents = len(f.sessions)
	return c
}

// enter adds a session, if there is room.
func (f *Fanout) enter(s *session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closing:
		return refuse(wire.Busy, "the hub %s is stopping", f.o.Name)
	case f.o.MaxAgents > 0 && len(f.sessions) >= f.o.MaxAgents:
		return refuse(wire.Busy,
			"the hub %s is full with %d agents; raise its limit of open files (LimitNOFILE), or add a hub", f.o.Name,
			f.o.MaxAgents)
	}
	f.sessions[s] = true
	return nil
}

// leave removes a session, and ends its use of keys.
func (f *Fanout) leave(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, s)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.unindex(s)
}

// unindex removes the subscriptions of a session; mu of both is held.
func (f *Fanout) unindex(s *session) {
	s.contact(false)
	remove(f.byNode, s.node, s)
	f.subs -= len(s.subs)
	for k, u := range s.subs {
		remove(f.byKey, k, s)
		s.crew(k)
		for path := range u.files {
			if delete(f.byLock[path], s); len(f.byLock[path]) == 0 {
				delete(f.byLock, path)
			}
		}
		if u.used {
			f.o.Feed.Release(k)
		}
	}
	s.subs = nil
}

func add[K comparable](index map[K]map[*session]bool, k K, s *session) {
	if index[k] == nil {
		index[k] = map[*session]bool{}
	}
	index[k][s] = true
}

func remove[K comparable](index map[K]map[*session]bool, k K, s *session) {
	if delete(index[k], s); len(index[k]) == 0 {
		delete(index, k)
	}
}

// Drain asks all agents to move to another hub within a time, and returns when they have, or the time has passed. New
// agents are refused.
func (f *Fanout) Drain(ctx context.Context, within time.Duration) {
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
	for _, s := range f.all() {
		s.leave(within)
	}
	limited, cancel := context.WithTimeout(ctx, within+tick)
	defer cancel()
	for len(f.all()) > 0 && wait.For(limited, tick/20) == nil {
		continue // they leave one by one
	}
	for _, s := range f.all() {
		_ = s.conn.Close() // its Serve returns
	}
}
