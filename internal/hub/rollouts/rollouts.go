package rollouts

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/hold"
	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

const (
	// rightsEvery is how often a hub asks again whether it may write.
	rightsEvery = time.Minute
	// forgetAfter is how long a hub remembers the nodes of a rollout that has ended, and the outputs of their commands.
	forgetAfter = time.Hour
)

// Feed is the hub's view of the store: a *feed.Feed.
type Feed interface {
	Use(kv.Key)
	Release(kv.Key)
	Latest(kv.Key) *feed.Snapshot
	Confirm(ctx context.Context, k kv.Key, c kv.Consistency, data bool) (*feed.Snapshot, error)
	Age() time.Duration
}

// Fanout has the nodes of the hub: a *fanout.Fanout. It calls Rollouts under its locks, so it is never called under ours.
type Fanout interface {
	Members(kv.Key) []fanout.Member
	Offered(kv.Key)
	Ask(k kv.Key, ask wire.Ask, nodes []string)
}

// Options configure Rollouts.
type Options struct {
	Store  kv.Store
	Layout kv.Layout
	Hub    string // its name
	Gates  map[string]Gate
	Peers  []Peer
	Notify *Webhook // nil: none
	// Keep a row below the rollouts: Consul wakes a watch on an empty folder with each write to the store.
	Keep bool
	Log  *slog.Logger
}

// Rollouts are the rollouts that a hub serves. Its methods are safe for concurrent use.
type Rollouts struct {
	o        Options
	feed     Feed
	fanout   Fanout
	me       string // as a controller
	start    time.Time
	recorder hold.Recorder
	promote  func(context.Context, publish.Promotion) (eventLost, err error)
	notifier notifier
	work     sync.WaitGroup

	mu     sync.Mutex
	ctx    context.Context // of Run; nil before
	may    bool            // the hub may write what rollouts need
	leaves bool            // the hub ends: it claims no rollout
	tracks map[kv.Key]*track
	known  map[string]uint64 // path of a row → its index, as last seen
	counts Counts
}

// New follows nothing yet. The hub's feed calls Rows and Changed.
func New(o Options) *Rollouts {
	r := &Rollouts{o: o, start: time.Now(), me: o.Hub + "#" + kv.NewID()[:4], tracks: map[kv.Key]*track{},
		known: map[string]uint64{}}
	p := &publish.Publisher{Store: o.Store, Once: o.Store, Layout: o.Layout, By: o.Hub, Log: o.Log}
	r.promote = p.Promote
	r.recorder = hold.Recorder{Store: o.Store, Layout: o.Layout, Lost: func(err error) {
		o.Log.Warn("a rollout left no event", "error", err)
	}}
	r.notifier = newNotifier(o.Notify, o.Log)
	return r
}

// Attach names the feed and the fanout; before Run, and before they run.
func (r *Rollouts) Attach(f Feed, a Fanout) { r.feed, r.fanout = f, a }

// Run works until ctx ends.
func (r *Rollouts) Run(ctx context.Context) {
	r.mu.Lock()
	r.ctx = ctx
	for _, t := range r.tracks {
		r.follow(t)
	}
	r.mu.Unlock()
	r.work.Go(func() { r.notifier.run(ctx) })
	for {
		r.askRights(ctx)
		r.forget()
		if wait.For(ctx, rightsEvery) != nil {
			break
		}
	}
	r.work.Wait()
}

// askRights finds out whether the hub may run rollouts, with a transaction that writes nothing; and it writes the row to Keep.
func (r *Rollouts) askRights(ctx context.Context) {
	l := r.o.Layout
	probes := []kv.Op{{Verb: kv.CheckAbsent, Path: l.RolloutsDir() + ".probe"}, {Verb: kv.CheckAbsent, Path: l.Prefix() + "/.probe"}}
	_, err := r.o.Store.Commit(ctx, probes)
	if ctx.Err() != nil || err != nil && !errors.Is(err, kv.ErrDenied) {
		return // the store is unreachable: nothing is known
	}
	r.mu.Lock()
	before, first := r.may, r.known[""] == 0
	r.may, r.known[""] = err == nil, 1
	r.mu.Unlock()
	switch {
	case err != nil && (before || first):
		r.o.Log.Info("the hub's token may not write keys: it serves agents, and another hub must run the rollouts; "+
			"`kvexpress acl hub --rollouts` prints the policy for it", "error", err)
	case err == nil && !before && r.o.Keep:
		_, err := r.o.Store.Commit(ctx, []kv.Op{{Verb: kv.CheckAndSet, Path: l.RolloutsDir() + ".keep"}})
		if err != nil && !errors.Is(err, kv.ErrConflict) {
			r.o.Log.Warn("cannot write a row below the rollouts", "error", err)
		}
	}
	r.wakeAll()
}

// forget drops rollouts that ended long ago: their rows are in the store.
func (r *Rollouts) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, t := range r.tracks {
		if !t.running && t.ended > 0 && r.now()-t.ended >= forgetAfter {
			delete(r.tracks, k)
		}
	}
}

// Rows follows the open rollouts among all rows of the store.
func (r *Rollouts) Rows(all kv.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for path, e := range all {
		if r.known[path] == e.Index {
			continue
		}
		r.known[path] = e.Index
		k, err := kv.ParseKey(strings.TrimPrefix(path, r.o.Layout.RolloutsDir()))
		if err != nil {
			continue
		}
		row, err := rollout.ParseRow(k, e)
		if err != nil {
			r.o.Log.Warn("a rollout cannot be read; its nodes keep the current version", "key", k, "error", err)
		} else if !row.State.Ended() {
			r.follow(r.track(k))
		}
	}
}

// track is what is known of a key; mu is held.
func (r *Rollouts) track(k kv.Key) *track {
	t := r.tracks[k]
	if t == nil {
		t = newTrack(r, k)
		r.tracks[k] = t
	}
	return t
}

// follow runs a track, or wakes it; mu is held.
func (r *Rollouts) follow(t *track) {
	switch {
	case r.ctx == nil || r.ctx.Err() != nil:
	case t.running:
		t.poke()
	default:
		t.running = true
		r.work.Go(func() { t.run(r.ctx) })
	}
}

// Changed takes an update of the feed.
func (r *Rollouts) Changed(u feed.Update) {
	if len(u.Locks) > 0 {
		r.wakeAll()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range u.Keys {
		if t := r.tracks[k]; t != nil {
			t.poke()
		}
	}
	for _, k := range u.Rollouts {
		if t := r.tracks[k]; t != nil {
			r.follow(t) // when Rows had the row, the snapshot may have been the one before
		}
	}
}

func (r *Rollouts) wakeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.tracks {
		t.poke()
	}
}

// now is the hub's monotonic clock.
func (r *Rollouts) now() time.Duration { return time.Since(r.start) }

// Counts are for metrics.
type Counts struct {
	Open []Open
	Ends map[rollout.State]uint64 // ends, and halts, that this hub decided since its start
}

// Open is a rollout that this hub controls.
type Open struct {
	Key                       kv.Key
	State                     rollout.State
	Stage, Stages             int
	Admitted, Healthy, Failed int
}

// Counts are the hub's counts now.
func (r *Rollouts) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := Counts{Ends: map[rollout.State]uint64{}}
	for state, n := range r.counts.Ends {
		c.Ends[state] = n
	}
	for _, t := range r.tracks {
		if t.row == nil || t.row.State.Ended() || t.row.Controller != r.me {
			continue
		}
		o := Open{Key: t.key, State: t.row.State, Stage: t.row.Stage, Stages: len(t.row.Plan.Stages)}
		v := rollout.ViewFrom(*t.row, t.memory, t.world)
		for i := range v.Stages {
			o.Admitted, o.Healthy, o.Failed = max(o.Admitted, v.Stages[i].Admitted), max(o.Healthy, v.Stages[i].Healthy),
				max(o.Failed, v.Stages[i].Failed)
		}
		c.Open = append(c.Open, o)
	}
	slices.SortFunc(c.Open, func(a, b Open) int { return cmp.Compare(a.Key, b.Key) })
	return c
}
