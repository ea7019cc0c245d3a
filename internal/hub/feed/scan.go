package feed

import (
	"context"
	"slices"
	"sync"

	"kvexpress/internal/kv"
)

const (
	// parallel is how many transactions are in flight at once, for scans and for reads each.
	parallel = 4
	// shared is how many paths every transaction has: the locks, the probe that tells whether they may be read, and the rollouts.
	shared = 3
)

// scan reads checksum and stop of all keys in use, the locks and the rollouts. A key without a change takes over the moment of
// the scan; the others are read in full, which scan does not wait for. It reports whether all could be scanned.
func (f *Feed) scan(ctx context.Context) bool {
	f.mu.Lock()
	keys := make([]kv.Key, 0, len(f.keys))
	for k, e := range f.keys {
		switch {
		case e.latest != nil:
			keys = append(keys, k)
		case e.reads == 0:
			f.refresh(ctx, k, true)
		}
	}
	f.mu.Unlock()
	slices.Sort(keys) // a transaction asks for the same keys each time
	chunks := slices.Collect(slices.Chunk(keys, (kv.MaxOps-shared)/2))
	if chunks == nil {
		chunks = [][]kv.Key{nil} // rollouts of keys that no agent uses
	}
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		update Update
		failed error
		slots  = make(chan struct{}, parallel)
	)
	for _, some := range chunks {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			u, err := f.scanSome(ctx, some)
			mu.Lock()
			defer mu.Unlock()
			update.add(u)
			if err != nil {
				failed = err
			}
		})
	}
	all.Wait()
	f.changed(update)
	if failed != nil {
		f.failed(failed)
	}
	return failed == nil
}

// scanSome is scan for the keys of one transaction.
func (f *Feed) scanSome(ctx context.Context, keys []kv.Key) (Update, error) {
	l := f.o.Layout
	var paths []string
	for _, k := range keys {
		paths = append(paths, l.Checksum(k), l.Stop(k))
	}
	a, err := f.transaction(ctx, kv.Default, paths)
	if err != nil {
		return Update{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var update Update
	for _, k := range keys {
		old := f.latest(k)
		if old == nil { // released
			continue
		}
		s, readData := unchanged(l, old, a)
		if s != nil {
			if _, u, ok := f.publish(s); ok {
				f.keys[k].failed = false
				update.add(u)
				continue
			}
		}
		f.refresh(ctx, k, readData)
	}
	return update, nil
}

// readAll reads all keys in full. It does not wait.
func (f *Feed) readAll(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k := range f.keys {
		f.refresh(ctx, k, false)
	}
}
