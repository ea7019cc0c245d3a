package feed

import (
	"maps"

	"kvexpress/internal/kv"
)

const defaultHeld = 256 << 20

// entry is a key in use.
type entry struct {
	users   int
	latest  *Snapshot // nil before the first
	changed uint64    // Feed.changes when its rows last changed
	reads   int       // that refresh has begun, and not ended
	failed  bool      // the last refresh failed
}

// lockSet is the locks of one moment. Answers with the same locks share one.
type lockSet struct{ rows kv.Snapshot }

// shareLocks returns the newest lockSet if it has these rows, else a new one.
func (f *Feed) shareLocks(rows kv.Snapshot) *lockSet {
	f.mu.Lock()
	newest := f.locks
	f.mu.Unlock()
	if maps.EqualFunc(newest.rows, rows, equal) { // it may be long: without the lock
		return newest
	}
	newest = &lockSet{rows}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.locks = newest
	return newest
}

// diff lists the paths whose locks differ.
func (s *lockSet) diff(other *lockSet) (paths []string) {
	if s == other {
		return nil
	}
	for path, e := range s.rows {
		if o, ok := other.rows[path]; !ok || !equal(e, o) {
			paths = append(paths, path)
		}
	}
	for path := range other.rows {
		if _, ok := s.rows[path]; !ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// size is how many bytes of data a snapshot holds.
func (s *Snapshot) size() int {
	if s == nil {
		return 0
	}
	return len(s.Rows[s.data].Value)
}

// publish makes s the latest snapshot of its key, and returns the one to use. Snapshots that overlap in time and differ have no
// order: then ok is false, and the key must be read again. A key that is not in use is not kept.
func (f *Feed) publish(s *Snapshot) (use *Snapshot, u Update, ok bool) {
	e := f.keys[s.Key]
	if e == nil {
		return s, u, true
	}
	old, l := e.latest, f.o.Layout
	switch {
	case old == nil || s.from > old.to:
	case old.locks != s.locks || !sameRows(l, old, s) || !equal(old.Rows[l.Rollout(s.Key)], s.Rows[l.Rollout(s.Key)]):
		return nil, u, false
	case s.from <= old.from:
		if s.HasData() {
			return s, u, true
		}
		return old, u, true
	}
	if old != nil {
		u.Locks = old.locks.diff(s.locks)
	}
	if old == nil || !sameRows(l, old, s) {
		f.changes++
		e.changed = f.changes
		u.Keys = []kv.Key{s.Key}
	}
	if old == nil || !equal(old.Rows[l.Rollout(s.Key)], s.Rows[l.Rollout(s.Key)]) {
		u.Rollouts = []kv.Key{s.Key}
	}
	e.latest = s
	f.held += s.size() - old.size()
	f.forget()
	return s, u, true
}

// forget drops the data that has not changed for the longest time, until the rest fits.
func (f *Feed) forget() {
	for f.held > f.o.MaxHeld {
		var oldest *entry
		for _, e := range f.keys {
			if e.latest.size() > 0 && (oldest == nil || e.changed < oldest.changed) {
				oldest = e
			}
		}
		s := *oldest.latest
		f.held -= s.size()
		s.Rows = maps.Clone(s.Rows)
		delete(s.Rows, s.data)
		oldest.latest = &s
	}
}

// allRead reports whether no key has failed.
func (f *Feed) allRead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.allReadLocked()
}

func (f *Feed) allReadLocked() bool {
	for _, e := range f.keys {
		if e.failed {
			return false
		}
	}
	return true
}
