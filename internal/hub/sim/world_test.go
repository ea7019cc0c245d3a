package sim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

// world is the fleet of one seed.
type world struct {
	*testing.T
	layout kv.Layout
	engine *embedded.Engine
	store  *embedded.Store // of the operator: no delays, no failures
	plan   *rand.Rand      // of what happens; the test's goroutine alone uses it
	trace  trace
	hubs   []*hub
	nodes  []*node
	healed atomic.Bool // no more faults
	staged *staged     // nil: new versions reach all nodes at once

	luck struct { // of what happens in other goroutines
		sync.Mutex
		*rand.Rand
	}

	mu    sync.Mutex
	order uint64 // counts what the operator did
	views []view
	lag   time.Duration // the leader that answers is outdated by this; 0: it is not
	last  [keys]uint64  // version
	sent  map[string]version
	stops [keys]bool
}

// view is the store at a moment.
type view struct {
	at time.Time
	embedded.View
}

// version is what was published.
type version struct {
	key           int
	number, order uint64
}

func newWorld(t *testing.T, dir string, seed uint64, stages bool) *world {
	w := &world{T: t, plan: seeded(seed, 0), sent: map[string]version{}}
	w.luck.Rand = seeded(seed, 1)
	w.trace.start = time.Now()
	var err error
	if w.layout, err = kv.NewLayout("kvexpress"); err != nil {
		t.Fatal(err)
	}
	if w.engine, err = embedded.Open(embedded.Options{}); err != nil {
		t.Fatal(err)
	}
	w.store = w.engine.Store()
	for k := range keys {
		w.publish(k)
	}
	if stages {
		w.beginStages()
	}
	for i := range hubs {
		w.hubs = append(w.hubs, newHub(w, hubName(i)))
	}
	for _, h := range w.hubs {
		h.begin()
	}
	direct, n := w.plan.IntN(4) > 0, nodes
	if stages {
		n = stagedNodes
	}
	for i := range n {
		n := newNode(w, dir, i, direct)
		w.mu.Lock()
		w.nodes = append(w.nodes, n)
		w.mu.Unlock()
	}
	return w
}

// all are the nodes, for hubs that run already while they are made.
func (w *world) all() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.nodes)
}

func (w *world) end() {
	for _, n := range w.nodes {
		n.end()
	}
	for _, h := range w.hubs {
		h.kill()
	}
}

// fail reports a broken rule.
func (w *world) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.trace.log("BROKEN: %s", text)
	w.Error(text)
}

// faulty reports whether faults still happen.
func (w *world) faulty() bool { return !w.healed.Load() }

// chance is true once in n times. Any goroutine may ask.
func (w *world) chance(n int) bool { return w.upTo(time.Duration(n)) == 0 }

// upTo is a time below most. Any goroutine may ask.
func (w *world) upTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	w.luck.Lock()
	defer w.luck.Unlock()
	return time.Duration(w.luck.Int64N(int64(most)))
}

// operate does something that the store acknowledges at one moment; mu is held meanwhile.
func (w *world) operate(do func(ctx context.Context) error) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.order++
	if err := do(context.Background()); err != nil {
		w.Fatal(err)
	}
	w.viewed()
}

// viewed notes what the store has now; mu is held.
func (w *world) viewed() {
	w.views = append(w.views, view{time.Now(), w.engine.View()})
	if w.staged != nil {
		w.followRollout()
	}
}

func key(k int) kv.Key { return kv.Key(fmt.Sprint("k", k)) }

// kind is what a version is like.
type kind string

const (
	good   kind = "works"
	short  kind = "short"  // nodes refuse it
	broken kind = "broken" // its exec fails
)

// content is a version's: its number can be read from it.
func content(k int, number uint64, like kind) string {
	lines := 20
	if like == short {
		lines = 5
	}
	return fmt.Sprintf("%s version %d %s\n%s", key(k), number, like, strings.Repeat("line\n", lines))
}

// publish publishes a version that works. A rollout that is open is seldom replaced.
func (w *world) publish(k int) {
	if !w.rollsOut() || w.plan.IntN(8) == 0 {
		w.publishLike(k, good, false)
	}
}

// publishLike publishes a version. now: to all nodes at once, past the stages.
func (w *world) publishLike(k int, like kind, now bool) {
	w.Helper()
	w.operate(func(ctx context.Context) error {
		w.last[k]++
		text := content(k, w.last[k], like)
		w.sent[record.Checksum([]byte(text))] = version{k, w.last[k], w.order}
		w.trace.log("publish %s version %d, which %s, now %v", key(k), w.last[k], like, now)
		p := publish.Publisher{Store: w.store, Layout: w.layout, By: "test"}
		res, err := p.Publish(ctx, publish.Request{Key: key(k), Content: []byte(text), IgnoreStop: true, Now: now, Message: "why"})
		if w.staged != nil && k == 0 {
			w.staged.kinds[w.last[k]] = like
		}
		if err == nil && res.Version != w.last[k] {
			w.fail("%s has the number %d, and %d numbers were given before", key(k), res.Version, w.last[k]-1)
		}
		return err
	})
}

func (w *world) freezer(host string) hold.Freezer {
	return hold.Freezer{Recorder: hold.Recorder{Store: w.store, Layout: w.layout}, Host: host, By: hold.Event{Who: "test"}}
}

// stop stops or resumes a key.
func (w *world) stop(k int, stop bool) {
	w.Helper()
	if w.stops[k] == stop {
		return
	}
	w.operate(func(ctx context.Context) (err error) {
		w.trace.log("stop %s: %v", key(k), stop)
		if w.staged != nil && k == 0 {
			w.staged.frozen = time.Time{}
			if stop {
				w.staged.frozen = time.Now()
			}
		}
		if w.stops[k] = stop; stop {
			_, err = w.freezer("").Stop(ctx, key(k), "bad")
		} else {
			_, _, err = w.freezer("").Resume(ctx, key(k), "")
		}
		w.froze()
		return err
	})
}

// lock locks or unlocks the file of a node.
func (w *world) lock(n *node, lock bool) {
	w.Helper()
	if n.locked == lock {
		return
	}
	w.operate(func(ctx context.Context) (err error) {
		w.trace.log("lock %s: %v", n.name, lock)
		if n.locked = lock; lock {
			_, err = w.freezer(n.name).Lock(ctx, n.file, "maintenance", time.Time{})
		} else {
			n.unlocked = time.Now()
			_, err = w.freezer(n.name).Unlock(ctx, n.file)
		}
		w.froze()
		return err
	})
}

// froze notes which nodes are frozen; mu is held.
func (w *world) froze() {
	for _, n := range w.nodes {
		switch frozen := n.locked || w.stops[n.key]; {
		case !frozen:
			n.frozen = moment{}
		case n.frozen.order == 0:
			n.frozen = moment{w.order, time.Now()}
		}
	}
}

// moment is when the operator did something; its zero value is never.
type moment struct {
	order uint64
	at    time.Time
}

// trace is what happened, for the report of a failure.
type trace struct {
	start time.Time
	mu    sync.Mutex
	lines []string
}

func (r *trace) log(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%9.3f ", time.Since(r.start).Seconds())+fmt.Sprintf(format, args...))
}

// Write takes a line of a log.
func (r *trace) Write(b []byte) (int, error) {
	r.log("        %s", strings.TrimSpace(string(b)))
	return len(b), nil
}

// logger writes to the trace.
func (r *trace) logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})).With("on", name)
}

func (r *trace) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines[max(0, len(r.lines)-500):], "\n")
}

// past is the store as an outdated leader has it.
func (w *world) past() (v view, outdated bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lag == 0 {
		return v, false
	}
	until := time.Now().Add(-w.lag)
	for _, v = range slices.Backward(w.views) {
		if !v.at.After(until) {
			break
		}
	}
	return v, true
}
