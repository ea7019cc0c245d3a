package feed

import (
	"context"
	"math/rand/v2"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

const (
	// minGap is the least time between two wakes of the watch, and emptyGap if there is nothing below the prefix: then any write to
	// the store wakes it.
	minGap, emptyGap = 20 * time.Millisecond, time.Second
	// checkEvery is how often the index of the watch is compared, since a watch that hangs looks like one without changes.
	checkEvery = 5 * time.Second
	// readEvery is how often all keys are read, whether they changed or not.
	readEvery = time.Minute
)

func backoff() wait.Backoff { return wait.Backoff{Least: 100 * time.Millisecond, Most: checkEvery} }

// Run follows the store until ctx ends.
func (f *Feed) Run(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	f.mu.Lock()
	f.ctx = ctx
	f.dispatch()
	f.mu.Unlock()
	for _, w := range f.watches {
		f.work.Go(func() { f.watch(ctx, w) })
	}
	defer f.work.Wait()
	defer f.end()
	defer cancel(errEnded)

	next, full := time.NewTimer(0), time.NewTimer(soon(readEvery))
	defer next.Stop()
	defer full.Stop()
	for failures := 0; ; {
		ok := false
		select {
		case <-ctx.Done():
			return
		case <-f.woken:
			ok = f.follow(ctx)
		case <-f.read:
			if f.allRead() {
				failures = 0
				next.Reset(0)
				continue
			}
		case <-next.C:
			ok = f.check(ctx)
		case <-full.C:
			f.readAll(ctx)
			full.Reset(soon(readEvery))
			continue
		}
		pause := checkEvery
		if ok {
			failures = 0
		} else {
			pause = backoff().After(failures)
			failures++
		}
		next.Reset(pause)
	}
}

// soon is about the time, so that hubs that were started together do not read together.
func soon(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2) }

// watch is what is known of one folder. The mu of the Feed guards it.
type watch struct {
	dir  string
	seen uint64 // the index before the last complete scan
	beat uint64 // the last index
	// empty: the folder has no row, so its index says nothing.
	empty bool
	rearm func() // ends the current wait

	rollouts bool
}

func newWatches(l kv.Layout) []*watch {
	return []*watch{{dir: l.Prefix() + "/", rearm: func() {}}, {dir: l.RolloutsDir(), rearm: func() {}, rollouts: true}}
}

// current reports whether a scan has seen everything up to an index.
func (w *watch) current(b kv.Beat) bool { return w.ignores(b) || b.Index == w.seen }

// ignores reports whether an answer says nothing: without a rollout, any write to the store is one. The first rollout begins with
// a write below the prefix.
func (w *watch) ignores(b kv.Beat) bool { return b.Empty && w.rollouts }

// watch waits for changes of a folder and wakes Run.
func (f *Feed) watch(ctx context.Context, w *watch) {
	since, failures := uint64(0), 0
	for ctx.Err() == nil {
		pulse, stop := context.WithCancel(ctx)
		f.mu.Lock()
		w.rearm = stop
		f.mu.Unlock()
		beat, err := f.o.Store.Pulse(pulse, w.dir, since, kv.MaxWait)
		rearmed := pulse.Err() != nil
		stop()
		gap := minGap
		switch {
		case err == nil:
			failures = 0
			if beat.Index != since {
				f.wake(w, beat)
			}
			if since = beat.Index; beat.Empty {
				gap = emptyGap
			}
		case rearmed:
			since = 0
		default:
			f.failed(err)
			gap = backoff().After(failures)
			since, failures = 0, failures+1
		}
		if wait.For(ctx, gap) != nil {
			return
		}
	}
}

func (f *Feed) wake(w *watch, b kv.Beat) {
	f.mu.Lock()
	w.beat, w.empty = b.Index, w.ignores(b)
	f.mu.Unlock()
	if !w.ignores(b) {
		signal(f.woken)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is already signalled
	}
}

// follow scans after a wake.
func (f *Feed) follow(ctx context.Context) bool {
	f.mu.Lock()
	beats, current := make([]kv.Beat, len(f.watches)), f.allReadLocked()
	for i, w := range f.watches {
		beats[i] = kv.Beat{Index: w.beat, Empty: w.empty}
		current = current && w.current(beats[i])
	}
	f.mu.Unlock()
	if current {
		return true
	}
	began := time.Now()
	return f.scan(ctx) && f.upToDate(beats, began)
}

// check proves that no change was missed. Otherwise it scans, and starts the watch again if that has not seen the change.
func (f *Feed) check(ctx context.Context) bool {
	began := time.Now()
	beats, current := make([]kv.Beat, len(f.watches)), f.allRead()
	for i, w := range f.watches {
		var err error
		if beats[i], err = f.o.Store.Pulse(ctx, w.dir, 0, 0); err != nil {
			f.failed(err)
			return false
		}
		f.mu.Lock()
		fresh, hangs, rearm := w.current(beats[i]), beats[i].Index != w.beat, w.rearm
		f.mu.Unlock()
		if current = current && fresh; !fresh && hangs {
			rearm()
		}
	}
	if !current {
		if began = time.Now(); !f.scan(ctx) {
			return false
		}
	}
	return f.upToDate(beats, began)
}

// upToDate notes that a scan has seen all changes up to an index of each watch, or that there was none, by reads that began at a
// time. It reports whether Latest has them: no key could not be read.
func (f *Feed) upToDate(beats []kv.Beat, began time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, w := range f.watches {
		w.seen = beats[i].Index
	}
	if !f.allReadLocked() {
		return false
	}
	f.confirmed = began
	if f.status.Err != nil {
		f.status.Err = nil
		f.o.Log.Info("the store can be read again")
	}
	return true
}

// failed notes why a read failed. Only the first failure is logged.
func (f *Feed) failed(err error) {
	f.mu.Lock()
	first := f.status.Err == nil && f.ctx.Err() == nil
	f.status.Err = err
	f.mu.Unlock()
	if first {
		f.o.Log.Warn("the store cannot be read; agents keep what they have", "error", err)
	}
}
