package agent

import (
	"context"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

// Store is a store that an agent asks.
type Store interface {
	kv.Store
	kv.Watcher
	Addr() string // for people
}

// source is where the targets of a node get their keys from: blocking queries at the store (storeSource), or a hub that pushes
// snapshots (hubSource).
type source interface {
	// Read returns a snapshot from after the call, or, from a hub, of the last wire.Fresh. Every decision of an install
	// uses it.
	kv.Reader
	// follow subscribes a target to its key. Nothing is asked before the first call of next. moved, which holds one, asks the
	// target to call next and then updates again.
	follow(k kv.Key, l kv.Layout, moved chan<- struct{}) subscription
	// offered is the ID of the rollout whose candidate is this node's version of a key; "": the current version is. known: a hub
	// has said so.
	offered(k kv.Key) (id string, known bool)
	// withdrawn is closed when the candidate of a rollout is not offered any more.
	withdrawn(k kv.Key, id string) <-chan struct{}
	// unreachable is why the source cannot be reached; nil if it can, as far as we know.
	unreachable() error
	Addr() string
}

// subscription reports changes of one key to one target. Only the target's goroutine calls its methods.
type subscription interface {
	// updates delivers one Snapshot for each call of next: the newest, never a queue.
	updates() <-chan Snapshot
	// next asks for the snapshot after last. last is nil if the snapshot that was asked for has not come: then a source
	// asks again only if the position requires another question.
	next(ctx context.Context, last *Snapshot, has position)
	// close ends the subscription, and waits for its end.
	close()
}

// Snapshot is the content of a key, as far as its source has it. It wakes a target, and may bring rows along, which saves
// a request. An install confirms the others with Read.
type Snapshot struct {
	Rows  kv.Snapshot // the source may know only a part of the key
	Err   error       // why there is none; the target keeps its file
	Quiet bool        // nothing has changed since the last one
	At    time.Time   // when it was received

	row   string // the row of Rows that a blocking query follows
	index uint64 // where the query goes on
}

// entry is the row that a blocking query follows; Denied, its zero value, without one.
func (s *Snapshot) entry() kv.Entry { return s.Rows[s.row] }

// position is the state of a target after its last reconcile, as far as its source needs it.
type position struct {
	index    uint64          // of the checksum that was read; 0: there was none
	size     int             // of the file in bytes
	frozen   *install.Frozen // the row that freezes the target; nil if none does
	ok       bool            // the reconcile went well
	retrying bool            // the target reconciles again by itself
	missing  bool            // the store has no such key
	mismatch bool            // data and checksum are of different versions
	blind    bool            // the source could not be reached
	polled   bool            // the node watches enough other targets
}

// outage is a time in which the source could not be reached.
type outage struct {
	ended  time.Time // zero: there was none
	lasted time.Duration
}
