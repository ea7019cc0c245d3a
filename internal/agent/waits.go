package agent

import (
	"sync"
	"time"
)

// Consul allows 200 connections for each client address. It counts a query that waits until its wait is over, although
// the client has closed the connection. So a restart, or a reload, leaves such queries behind.
const (
	// maxWatched is how many targets are watched. The others are polled.
	maxWatched = 60
	// maxWaits is how many queries of this process the store may count, with those that we ended.
	maxWaits = 2 * maxWatched
	// A node with more targets than fewWatched begins their waits one after the other, and with a short wait in the first
	// minute of each: restarts in short order leave few queries behind, and not for long.
	fewWatched = 10
	waitsEvery = 150 * time.Millisecond
	youngWait  = 5 * time.Second
	youngFor   = time.Minute
)

// waits limits the queries of a process that wait at the store.
type waits struct {
	mu     sync.Mutex
	held   int // that the store counts
	bucket bucket
}

func newWaits() *waits { return &waits{bucket: bucket{burst: fewWatched, refill: waitsEvery}} }

// begin returns how long to wait before a wait may begin. If full, there is no room for it until then.
func (w *waits) begin(now time.Time) (after time.Duration, full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held >= maxWaits {
		return pollEvery, true
	}
	w.held++
	return w.bucket.take(now), false
}

// end gives the room back, once the store does not count the query any more.
func (w *waits) end(rest time.Duration) {
	if rest > 0 {
		time.AfterFunc(rest, func() { w.end(0) })
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held--
}

// bucket limits how often something happens: burst times at once, and then once every refill. The zero value of next is full.
type bucket struct {
	burst  int
	refill time.Duration
	next   time.Time
}

// newReturns limits how often a store may answer a watch: one that returns without end must not become a busy loop, and of
// a storm of versions only the last counts.
func newReturns() bucket { return bucket{burst: 10, refill: 250 * time.Millisecond} }

// take takes one, and returns how long to wait before the next one is asked for.
func (b *bucket) take(now time.Time) time.Duration {
	if full := now.Add(-time.Duration(b.burst-1) * b.refill); b.next.Before(full) {
		b.next = full
	}
	b.next = b.next.Add(b.refill)
	return max(0, b.next.Sub(now))
}
