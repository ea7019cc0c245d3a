package local

import (
	"bytes"
	"context"
	"time"

	"kvexpress/internal/kv"
)

// minWait keeps a caller from asking in a loop.
const minWait = 10 * time.Millisecond

var _ kv.Watcher = (*Store)(nil)

// bell is what all who wait for one path share. The path's next change rings it,
// once and for ever; who waits on takes a new one.
type bell struct {
	rung    chan struct{} // closed by the change
	waiting int           // how many have not left; the store's mutex guards it
}

// Watch implements kv.Watcher, as Consul does it. The index of an absent entry is
// that of the store, so that asking for one may be answered at once though only
// others have changed; but while it waits, nothing wakes it except a change of
// this very entry. An index that the store has not reached yet is waited for.
// Whether the path may be read is asked once, at the beginning.
func (s *Store) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	what := "watch " + path
	switch {
	case ctx.Err() != nil:
		return kv.Entry{}, ended(ctx, what)
	case !valid(path):
		return kv.Entry{}, refuse("watch", kv.ErrRequest, "the path %s is not allowed", kv.Quote(path))
	case s.deny(path, false):
		return kv.Entry{}, refuse(what, kv.ErrDenied, "a rule of this store forbids it")
	}
	timer := time.NewTimer(min(max(wait, minWait), kv.MaxWait))
	defer timer.Stop()
	for {
		entry, b := s.look(path, since)
		if b == nil {
			return entry, nil
		}
		select {
		case <-b.rung:
		case <-timer.C:
			s.leave(path, b)
			entry, _ = s.look(path, 0)
			return entry, nil
		case <-ctx.Done():
			s.leave(path, b)
			return kv.Entry{}, ended(ctx, what)
		}
	}
}

// look returns the entry if its index is beyond since, or else the bell to wait
// for. Both are of one moment, so that no change comes in between.
func (s *Store) look(path string, since uint64) (kv.Entry, *bell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry, ok := s.rows[path]
	if !ok {
		entry = kv.Entry{State: kv.Absent, Index: s.index}
	}
	if entry.Index > since {
		entry.Value = bytes.Clone(entry.Value)
		return entry, nil
	}
	b := s.bells[path]
	if b == nil {
		b = &bell{rung: make(chan struct{})}
		s.bells[path] = b
	}
	b.waiting++
	return kv.Entry{}, b
}

// leave takes back one wait, and the bell if it was the last.
func (s *Store) leave(path string, b *bell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.waiting--
	if b.waiting == 0 && s.bells[path] == b { // another one stands there if this one was rung
		delete(s.bells, path)
	}
}

// ring wakes all who wait for path; mu is held.
func (s *Store) ring(path string) {
	if b := s.bells[path]; b != nil {
		close(b.rung)
		delete(s.bells, path)
	}
}
