package rollouts

import (
	"context"
	"errors"
	"maps"
	"time"

	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
)

const (
	// least is the least time between two steps: many reports make one.
	least = 20 * time.Millisecond
	// idle is how often another hub's rollout is looked at, to take it over.
	idle = time.Second
	// claimWait is how long a hub waits for the nodes of its peers before it claims a rollout.
	claimWait = time.Second
)

// track is one key with a rollout. Its goroutine runs while the rollout is open; what was last known stays. The mu of Rollouts
// guards it.
type track struct {
	r    *Rollouts
	key  kv.Key
	wake chan struct{}

	running bool
	ended   time.Duration // when running became false
	row     *rollout.Row  // the newest that is known, at the last step
	own     parsed        // the row that this hub wrote last
	wrote   time.Time     // when that write was over: snapshots from before do not have it
	parsed  parsed        // of the last snapshot

	memory   rollout.Memory // as a controller
	world    rollout.World  // of the last step
	admitted map[string]bool
	of       string // the rollout that admitted, nodes and gates are of
	nodes    map[string]*node
	sorted   []*node // the same, by name, as a step needed them last
	crewed   bool    // members must be read again
	heard    bool    // they were read for this rollout
	seq      uint64  // rises with each change of a node
	urgent   uint64  // seq of the last change that the controller must know at once
	gates    map[string]rollout.GateResult
	gateRun  uint64 // rises with each run of a gate
	moved    counterSeen
	claims   bool          // this hub is about to become the controller
	claimed  time.Duration // since when
	cand     candidate
	denied   denied
	offers   offers
	peers    map[string]*peer

	view    uint64        // rises with each change that a View shows
	changed chan struct{} // closed at the next change
	turned  chan struct{} // closed at the next change of the row
	told    told
	posted  uint64 // the question of the controller, through another hub
}

// counterSeen is when the counter of a row was seen to move.
type counterSeen struct {
	id, controller string
	counter        uint64
	at             time.Duration
}

func newTrack(r *Rollouts, k kv.Key) *track {
	return &track{r: r, key: k, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		turned: make(chan struct{}), crewed: true}
}

func (t *track) poke() {
	select {
	case t.wake <- struct{}{}:
	default: // it is already awake
	}
}

// run follows the rollout until it is over, or ctx ends.
func (t *track) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.r.feed.Use(t.key)
	defer t.r.feed.Release(t.key)
	t.followPeers(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		}
		again, err := t.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, kv.ErrConflict):
			again = t.r.now() // with the row of the winner
		case err != nil:
			if failures++; failures == 1 {
				t.r.o.Log.Warn("a rollout cannot go on; the hub tries again", "key", t.key, "error", err)
			}
			again = t.r.now() + wait.Backoff{Least: 100 * time.Millisecond, Most: idle}.After(failures)
		default:
			failures = 0
		}
		if t.over() {
			return
		}
		if wait.For(ctx, least) != nil {
			return
		}
		timer.Reset(max(0, again-t.r.now()))
	}
}

// over ends the goroutine if there is no open rollout.
func (t *track) over() bool {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	if t.row != nil && !t.row.State.Ended() || t.row == nil && t.r.feed.Latest(t.key) == nil || len(t.wake) > 0 {
		return false
	}
	t.running, t.ended, t.cand = false, t.r.now(), candidate{}
	return true
}

// step does what is next, and returns when to do so again.
func (t *track) step(ctx context.Context) (again time.Duration, err error) {
	again = t.r.now() + idle
	snap := t.r.feed.Latest(t.key)
	if snap == nil || snap.Err != nil {
		return again, nil //nolint:nilerr // the feed tells, and reads it again
	}
	row, index, err := t.look(snap)
	if row == nil || err != nil {
		return again, err
	}
	if !row.State.Ended() {
		err = t.load(ctx, *row)
	}
	t.hear()
	switch {
	case row.State.Ended():
	case t.leaves(*row):
		err = errors.Join(err, t.free(ctx, *row, index))
	case t.mine(*row) && t.met():
		next, failed := t.control(ctx, *row, index, snap)
		again, err = min(again, next), errors.Join(err, failed)
	}
	t.tell()
	if t.offersChanged() {
		t.r.fanout.Offered(t.key)
	}
	t.ask()
	return again, err
}

// look notes the newest row; nil: there is none.
func (t *track) look(snap *feed.Snapshot) (*rollout.Row, uint64, error) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	newest := t.newest(snap)
	row := newest.row
	if newest.err != nil {
		return nil, 0, newest.err
	}
	if row != nil && row.ID != t.of {
		t.begin(row.ID)
	}
	t.row = row
	if row != nil && (t.moved.id != row.ID || t.moved.counter != row.Counter || t.moved.controller != row.Controller) {
		t.moved = counterSeen{row.ID, row.Controller, row.Counter, t.r.now()}
		t.turn()
	}
	return row, newest.index, nil
}

// begin forgets the rollout before; mu is held.
func (t *track) begin(id string) {
	t.of, t.memory, t.admitted, t.gates = id, rollout.Memory{}, map[string]bool{}, map[string]rollout.GateResult{}
	t.nodes, t.sorted = map[string]*node{}, nil
	t.crewed, t.heard, t.posted, t.claims = true, false, 0, false
	for _, p := range t.peers {
		p.since, p.sent, p.met = 0, 0, false
	}
}

// mine reports whether this hub moves the rollout: it is its controller, there is none, or that one does not move it any more.
func (t *track) mine(row rollout.Row) bool {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	mine := t.r.may && !t.r.leaves && (row.Controller == "" || row.Controller == t.r.me || t.r.now()-t.moved.at >= rollout.TakeOver)
	if claims := mine && row.Controller != t.r.me; claims != t.claims {
		t.claims, t.claimed = claims, t.r.now()
		t.show()
	}
	return mine
}

// met reports whether the hub knows the nodes of its peers, as far as they answer: the first step counts them.
func (t *track) met() bool {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	for _, p := range t.peers {
		if t.claims && !p.met && t.r.now()-t.claimed < claimWait {
			return false
		}
	}
	return true
}

// control makes one step as the controller.
func (t *track) control(ctx context.Context, row rollout.Row, index uint64, snap *feed.Snapshot) (time.Duration, error) {
	before := row
	if row.Controller != t.r.me {
		row.Controller = "" // a claim
	}
	t.r.mu.Lock()
	memory, world := t.memory, t.sees(row, snap)
	t.r.mu.Unlock()
	if l := t.r.o.Layout; world.Current == rollout.IsBase && row.Base.Checksum > 0 {
		row.Base.Checksum = snap.Rows[l.Checksum(t.key)].Index // `resume` writes the same checksum again
		before.Base = row.Base
	}
	next, orders := rollout.Step(row, memory, world, t.r.me)
	if orders.Write {
		err := t.write(ctx, before, index, orders)
		if orders.Promote && errors.Is(err, kv.ErrDenied) {
			t.deny(row, err)
			return t.r.now(), nil // the next step says so in the row
		} else if err != nil {
			return 0, err
		}
		if next.Raised == world.Now {
			next.Raised = t.r.now() // what nodes said before the write was over is from before
		}
	}
	t.r.mu.Lock()
	t.memory, t.world = next, world
	for name := range next.Admitted {
		t.admitted[name] = true
	}
	t.hurry()
	if orders.Write {
		t.turn()
	}
	t.r.mu.Unlock()
	if orders.RunGate != "" {
		t.runGate(ctx, orders.RunGate, orders.Row)
	}
	return orders.Again, nil
}

// sees is the world of a step; mu is held.
func (t *track) sees(row rollout.Row, snap *feed.Snapshot) rollout.World {
	l := t.r.o.Layout
	w := rollout.World{Now: t.r.now(), Nodes: t.all(snap), Gates: t.gates, Stopped: snap.Rows[l.Stop(t.key)].State == kv.Present}
	if t.cand.id == row.ID {
		w.Damaged = t.cand.bad
	}
	if t.denied.rollout == row.ID && w.Now < t.denied.until {
		w.Denied = t.denied.why
	}
	w.Current = current(l, row, snap)
	if row.Controller == "" {
		w.Admitted = maps.Clone(t.admitted)
	}
	if t.r.feed.Age() > rollout.Silence {
		w.Current = rollout.Unknown
	}
	flags := snap.Rows[l.Rollout(t.key)].Flags
	if row.Controller == "" && flags == 0 && row.Counter == 0 {
		flags = uint64(row.Started)
	}
	if last := time.Unix(int64(flags), 0); flags > 0 && row.Controller == "" {
		w.Stale = time.Since(last) > row.Plan.Patience()+rollout.StaleAfter
	}
	return w
}
