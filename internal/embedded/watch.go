package embedded

import (
	"context"
	"time"

	"kvexpress/internal/kv"
)

// List implements kv.Store. See View.Index for its index. Unlike in Consul, only a change below the prefix wakes it.
func (s *Store) List(ctx context.Context, _ kv.Consistency, prefix string, since uint64, wait time.Duration) (kv.Listing, error) {
	topic, paths := Topic{Path: prefix, Tree: true}, []string{prefix}
	if prefix == "" { // all rows
		paths = nil
	}
	view, err := s.await(ctx, "list "+prefix, topic, since, wait, paths...)
	if err != nil {
		return kv.Listing{}, err
	}
	rows, filtered := s.below(view, prefix)
	return kv.Listing{Rows: rows, Index: view.Index(topic), Filtered: filtered}, nil
}

// below returns the readable rows below a prefix, and whether others were left out.
func (s *Store) below(view View, prefix string) (rows []kv.Row, filtered bool) {
	for row := range view.List(prefix) {
		if s.deny(row.Path, false) {
			filtered = true
			continue
		}
		rows = append(rows, kv.Row{Path: row.Path, Entry: entry(row)})
	}
	return rows, filtered
}

// Pulse implements kv.Pulser. As in Consul, the index of a folder without rows is the store's. Unlike in Consul, only a change
// below dir wakes it.
func (s *Store) Pulse(ctx context.Context, dir string, since uint64, wait time.Duration) (kv.Beat, error) {
	topic := Topic{Path: dir, Tree: true}
	view, err := s.await(ctx, "watch "+dir, topic, since, wait, dir)
	if err != nil {
		return kv.Beat{}, err
	}
	for row := range view.List(dir) {
		if !s.deny(row.Path, false) {
			return kv.Beat{Index: view.Index(topic)}, nil
		}
	}
	return kv.Beat{Index: view.Index(topic), Empty: true}, nil
}

// Watch implements kv.Watcher as Consul does. The index of an absent entry is the store's, so a new watch may return at once
// although only others have changed. A waiting watch is woken only by a change of its entry. If since is above the store's index,
// it waits. The permission is checked once, at the beginning.
func (s *Store) Watch(ctx context.Context, path string, since uint64, wait time.Duration) (kv.Entry, error) {
	what, topic := "watch "+path, Topic{Path: path}
	if s.deny(path, false) {
		return kv.Entry{}, refuse(what, kv.ErrDenied, "a rule of this store forbids it")
	}
	view, err := s.await(ctx, what, topic, since, wait, path)
	if err != nil {
		return kv.Entry{}, err
	}
	found := entry(view.Get(path))
	found.Index = view.Index(topic)
	return found, nil
}

// minWait prevents a busy loop.
const minWait = 10 * time.Millisecond

// await checks the paths, and waits as Engine.Await does.
func (s *Store) await(
	ctx context.Context, what string, t Topic, since uint64, wait time.Duration, paths ...string,
) (View, error) {
	if err := begun(ctx, what, paths...); err != nil {
		return View{}, err
	}
	view, err := s.engine.Await(ctx, t, since, min(max(wait, minWait), kv.MaxWait))
	if err != nil {
		return View{}, begun(ctx, what)
	}
	return view, nil
}
