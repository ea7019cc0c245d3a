package embedded

import (
	"context"
	"time"

	"kvexpress/internal/kv"
)

// List implements kv.Store. As in Consul, the index of a list is the largest index of its rows and tombstones; the index of an
// empty list is the store's. Unlike in Consul, only a change below the prefix wakes it.
func (s *Store) List(ctx context.Context, _ kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	what := "list " + prefix
	if err := ended(ctx, what); err != nil {
		return kv.Listing{}, err
	}
	if prefix != "" && !valid(prefix) {
		return kv.Listing{}, refuse("list", kv.ErrRequest, "the path %s is not allowed", kv.Quote(prefix))
	}
	var all kv.Listing
	err := s.engine.Await(ctx, PrefixTopic(prefix), bounded(wait), func(view View) bool {
		all = s.below(view, prefix)
		return since == 0 || all.Index > since
	})
	if err != nil {
		return kv.Listing{}, ended(ctx, what)
	}
	return all, nil
}

func (s *Store) below(view View, prefix string) kv.Listing {
	all := kv.Listing{Index: view.ListIndex(prefix)}
	for row := range view.List(prefix) {
		if s.deny(row.Path, false) {
			all.Filtered = true
			continue
		}
		all.Rows = append(all.Rows, kv.Row{Path: row.Path, Entry: entry(row)})
	}
	return all
}

// Pulse implements kv.Pulser. As in Consul, the index of a folder without rows is the store's. Unlike in Consul, only a change
// below dir wakes it.
func (s *Store) Pulse(ctx context.Context, dir string, since uint64, wait time.Duration) (kv.Beat, error) {
	what := "watch " + dir
	switch {
	case ctx.Err() != nil:
		return kv.Beat{}, ended(ctx, what)
	case !valid(dir):
		return kv.Beat{}, refuse("watch", kv.ErrRequest, "the path %s is not allowed", kv.Quote(dir))
	}
	var beat kv.Beat
	err := s.engine.Await(ctx, PrefixTopic(dir), bounded(wait), func(view View) bool {
		beat = kv.Beat{Index: view.ListIndex(dir), Empty: true}
		for row := range view.List(dir) {
			if beat.Empty = s.deny(row.Path, false); !beat.Empty {
				break
			}
		}
		return beat.Index > since
	})
	if err != nil {
		return kv.Beat{}, ended(ctx, what)
	}
	return beat, nil
}

// Watch implements kv.Watcher as Consul does. The index of an absent entry is the store's, so a new watch may return at once
// although only others have changed. A waiting watch is woken only by a change of its entry. If since is above the store's index,
// it waits. The permission is checked once, at the beginning.
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
	var found kv.Entry
	err := s.engine.Await(ctx, KeyTopic(path), bounded(wait), func(view View) bool {
		found = entry(view.Get(path))
		if found.State == kv.Absent {
			found.Index = view.Index()
		}
		return found.Index > since
	})
	if err != nil {
		return kv.Entry{}, ended(ctx, what)
	}
	return found, nil
}

// minWait prevents a busy loop.
const minWait = 10 * time.Millisecond

func bounded(wait time.Duration) time.Duration { return min(max(wait, minWait), kv.MaxWait) }
