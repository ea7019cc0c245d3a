// Package feed is the hub's view of the store: one watch on everything below the prefix and one on the rollouts, one snapshot of
// each key in use, and how old that view is.
//
// A watch only wakes. What a key holds comes from one transaction with the leader, begun after the wake, which also has the
// locks and rollouts of the fleet. So no snapshot has a publish without a lock that was acknowledged before it.
//
//	watch   wait for a change, and check every few seconds that none was missed
//	scan    find the keys that changed
//	read    the transactions: those who wait for the same key share one
//	judge   rows to a snapshot, pure
//	latest  the newest snapshot of each key, and the memory for their data
//
// It imports kv, record and wait: it knows no connection and no agent.
package feed

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// Store is what a Feed reads.
type Store interface {
	kv.Reader
	kv.Pulser
}

// Options configure a Feed.
type Options struct {
	Store  Store
	Layout kv.Layout
	Log    *slog.Logger
	// MaxHeld limits the data in memory, in bytes as stored; 0: 256 MiB. What was not changed for the longest time is dropped, and
	// read again when Confirm asks for it.
	MaxHeld int
	// Changed is called after Latest has what it names. It may be called concurrently, and must return at once. May be nil.
	Changed func(Update)
	// Rollouts is called with the rows of all rollouts at each reading, also of keys that are not in use. It may be called
	// concurrently, and the order of calls is not that of the readings. It must return at once. May be nil.
	Rollouts func(kv.Snapshot)
}

// Update says what changed.
type Update struct {
	Keys     []kv.Key // whose rows are others, or whose first snapshot is there
	Rollouts []kv.Key // whose rollout is another, or whose first snapshot is there
	Locks    []string // paths of the locks that were set, changed or removed
}

func (u *Update) add(more Update) {
	u.Keys, u.Rollouts = append(u.Keys, more.Keys...), append(u.Rollouts, more.Rollouts...)
	u.Locks = append(u.Locks, more.Locks...)
	slices.Sort(u.Locks)
	u.Locks = slices.Compact(u.Locks)
}

// Snapshot is a key at one moment. It is immutable, and shared by all who ask.
type Snapshot struct {
	Key kv.Key
	// Rows are checksum, manifest, stop, the rollout, and the data if it is in memory: see HasData.
	Rows kv.Snapshot
	// Locks has every lock of the fleet, of the same moment. Snapshots with the same locks share it.
	Locks kv.Snapshot
	// Live is the verified version, without Plain. Its zero value comes with an Err.
	Live record.Live
	// Began is the start of the leader's read that it comes from, or that last confirmed it.
	Began time.Time
	// Err is why the key cannot be handed on: a row or the locks are denied, or a newer kvexpress wrote the key.
	Err error
	// Candidate is the ID of a rollout if Rows and Live are of its candidate: see Offer. "": they are of the current version.
	Candidate string

	data     string   // path of the data
	locks    *lockSet // of Locks
	from, to uint64   // when the read began and ended, in ticks of the Feed
}

// HasData reports whether Rows has the row of the data, which may be absent.
func (s *Snapshot) HasData() bool {
	if s == nil {
		return false
	}
	_, ok := s.Rows[s.data]
	return ok
}

// Offer is the snapshot with the rows and the version of a candidate in place of the current ones. Stop and locks stay.
func (s *Snapshot) Offer(rollout string, live record.Live, rows kv.Snapshot) *Snapshot {
	o := *s
	o.Candidate, o.Live, o.Rows = rollout, live, maps.Clone(s.Rows)
	maps.Copy(o.Rows, rows)
	return &o
}

// Status is a Feed's state for metrics.
type Status struct {
	Keys  int           // in use
	Held  int           // bytes of data in memory
	Reads uint64        // transactions
	Age   time.Duration // see Feed.Age
	Err   error         // why the last read failed; nil if none did since
}

// errEnded is the error of a Feed that does not run any more.
var errEnded = errors.New("the hub stops")

// Feed reads the store for all agents of a hub. It is safe for concurrent use; Run is called once.
type Feed struct {
	o     Options
	woken chan struct{} // the watch saw a change
	read  chan struct{} // a key could not be read, or can be read again
	work  sync.WaitGroup

	mu        sync.Mutex
	ctx       context.Context // of Run; nil before
	ended     bool            // no more work begins
	keys      map[kv.Key]*entry
	locks     *lockSet // the newest
	tick      uint64   // counts the begins and ends of reads
	changes   uint64   // counts changes of rows, for entry.changed
	held      int      // bytes of data in memory
	watches   []*watch // of the prefix, and of the rollouts
	confirmed time.Time
	status    Status
	queue     queue
}

// New returns a Feed without keys.
func New(o Options) *Feed {
	o.MaxHeld = cmp.Or(o.MaxHeld, defaultHeld)
	return &Feed{
		o: o, woken: make(chan struct{}, 1), read: make(chan struct{}, 1), watches: newWatches(o.Layout),
		keys: map[kv.Key]*entry{}, locks: &lockSet{}, confirmed: time.Now(), queue: newQueue(),
	}
}

// Use begins to follow a key. Its first snapshot is read at once; Changed tells when it is there. Each Use needs a Release.
func (f *Feed) Use(k kv.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.keys[k]
	if e == nil {
		e = &entry{}
		f.keys[k] = e
		f.refresh(f.ctx, k, true)
	}
	e.users++
}

// Release ends a Use.
func (f *Feed) Release(k kv.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.keys[k]
	if e == nil {
		return
	}
	if e.users--; e.users == 0 {
		f.held -= e.latest.size()
		delete(f.keys, k)
	}
}

// Latest returns the newest snapshot of a key in use; nil before the first one. It never blocks.
func (f *Feed) Latest(k kv.Key) *Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest(k)
}

func (f *Feed) latest(k kv.Key) *Snapshot {
	if e := f.keys[k]; e != nil {
		return e.latest
	}
	return nil
}

// Age is the time since the start of the last read of the leader that showed that Latest has all changes; before the first one,
// since New. The keys whose change is being read at this moment are the exception.
func (f *Feed) Age() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Since(f.confirmed)
}

// Status returns the state for metrics.
func (f *Feed) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Keys, s.Held, s.Age = len(f.keys), f.held, time.Since(f.confirmed)
	return s
}

func (f *Feed) changed(u Update) {
	if f.o.Changed != nil && len(u.Keys)+len(u.Rollouts)+len(u.Locks) > 0 {
		f.o.Changed(u)
	}
}
