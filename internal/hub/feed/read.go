package feed

import (
	"context"
	"strings"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/wait"
)

// Confirm returns a snapshot of a key from a read that begins after the call. With data, HasData is true unless Err is set. Calls
// for the same key share a read, and reads of several keys share a transaction. The error is the store's, or why ctx ended.
func (f *Feed) Confirm(ctx context.Context, k kv.Key, c kv.Consistency, data bool) (*Snapshot, error) {
	for readData := data && !f.Latest(k).HasData(); ; readData = true {
		s, err := f.confirm(ctx, k, c, readData)
		if err != nil || s.Err != nil || !data || s.HasData() {
			return s, err
		}
	}
}

// confirm is Confirm. The data is read with readData, and if the rows cannot be judged without it.
func (f *Feed) confirm(ctx context.Context, k kv.Key, c kv.Consistency, readData bool) (*Snapshot, error) {
	waits := record.TornWaits()
	for n := 0; ; {
		call, err := f.join(k, c, readData)
		if err != nil {
			return nil, err
		}
		select {
		case <-call.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		switch s := call.snap; {
		case call.err != nil:
			return nil, call.err
		case call.verdict == needData:
			readData = true
		case call.verdict == torn && n < len(waits):
			if err := wait.For(ctx, waits[n]); err != nil {
				return nil, err
			}
			n++
			if l := f.Latest(k); l != nil && l.from > s.to {
				return l, nil // another read has found it settled
			}
		case call.verdict == torn:
			if s := f.hand(s); s != nil {
				return s, nil
			}
		case call.verdict == whole:
			return s, nil
		}
	}
}

// hand publishes a snapshot and tells who follows; nil if the key must be read again.
func (f *Feed) hand(s *Snapshot) *Snapshot {
	f.mu.Lock()
	s, u, _ := f.publish(s)
	f.mu.Unlock()
	f.changed(u)
	return s
}

// refresh reads a key in use beside the caller, who holds the lock. Run tries again if it fails. Before Run, it does nothing: the
// first scan reads all keys.
func (f *Feed) refresh(ctx context.Context, k kv.Key, data bool) {
	e := f.keys[k]
	if !f.runs() || e == nil {
		return
	}
	e.reads++
	f.work.Go(func() {
		_, err := f.confirm(ctx, k, kv.Default, data)
		if err != nil {
			f.failed(err)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		e.reads--
		if e.failed || err != nil {
			e.failed = err != nil
			signal(f.read)
		}
	})
}

// transaction reads paths, and with them the locks and the rollouts.
func (f *Feed) transaction(ctx context.Context, c kv.Consistency, paths []string) (*answer, error) {
	dir, rollouts := f.o.Layout.LocksDir(), f.o.Layout.RolloutsDir()
	probe := dir + ".probe" // as in kv.MayRead
	f.mu.Lock()
	f.tick++
	a := &answer{from: f.tick, began: time.Now()}
	f.status.Reads++
	f.mu.Unlock()
	rows, err := f.o.Store.Read(ctx, c, append(paths, dir, probe, rollouts)...)
	if err != nil {
		return nil, err
	}
	if rows[probe].State == kv.Denied {
		a.denied = deniedError(dir)
	}
	delete(rows, probe)
	locks := kv.Snapshot{}
	a.rollouts = kv.Snapshot{}
	for path, e := range rows {
		switch {
		case strings.HasPrefix(path, dir):
			locks[path] = e
		case strings.HasPrefix(path, rollouts):
			a.rollouts[path] = e
		default:
			continue
		}
		delete(rows, path)
	}
	a.rows, a.locks = rows, f.shareLocks(locks)
	if f.o.Rollouts != nil {
		f.o.Rollouts(a.rollouts)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tick++
	a.to = f.tick
	return a, nil
}
