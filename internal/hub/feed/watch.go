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
	f.work.Go(func() { f.watch(ctx) })
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

// watch waits for changes and wakes Run.
func (f *Feed) watch(ctx context.Context) {
	since, failures := uint64(0), 0
	for ctx.Err() == nil {
		pulse, stop := context.WithCancel(ctx)
		f.mu.Lock()
		f.rearm = stop
		f.mu.Unlock()
		beat, err := f.o.Store.Pulse(pulse, f.dir(), since, kv.MaxWait)
		rearmed := pulse.Err() != nil
		stop()
		gap := minGap
		switch {
		case err == nil:
			failures = 0
			if beat.Index != since {
				f.wake(beat.Index)
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

// dir is the folder of all keys and locks.
func (f *Feed) dir() string { return f.o.Layout.Prefix() + "/" }

func (f *Feed) wake(index uint64) {
	f.mu.Lock()
	f.beat = index
	f.mu.Unlock()
	signal(f.woken)
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
	index, keys, current := f.beat, len(f.keys), f.beat == f.seen && f.allReadLocked()
	f.mu.Unlock()
	if current {
		return true
	}
	began := time.Now()
	if !f.scan(ctx) {
		return false
	}
	return keys == 0 || f.upToDate(index, began) // without keys, nothing was read
}

// check proves that no change was missed. Otherwise it scans, and starts the watch again if that has not seen the change.
func (f *Feed) check(ctx context.Context) bool {
	began := time.Now()
	beat, err := f.o.Store.Pulse(ctx, f.dir(), 0, 0)
	if err != nil {
		f.failed(err)
		return false
	}
	f.mu.Lock()
	current, hangs, rearm := beat.Index == f.seen && f.allReadLocked(), beat.Index != f.beat, f.rearm
	f.mu.Unlock()
	if !current {
		if hangs {
			rearm()
		}
		if began = time.Now(); !f.scan(ctx) {
			return false
		}
	}
	return f.upToDate(beat.Index, began)
}

// upToDate notes that a scan has seen all changes up to an index, or that there was none, by reads that began at a time. It
// reports whether Latest has them: no key could not be read.
func (f *Feed) upToDate(index uint64, began time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = index
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
