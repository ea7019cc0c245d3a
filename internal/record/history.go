package record

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

const (
	// maxEntries is how many entries are read, the newest first. A publisher keeps ten, and three that were withdrawn; more are
	// from a policy, another lineage or another program.
	maxEntries = 64
	// maxLists is how often the list is made while publishers are faster.
	maxLists = 5
)

// History reads the past versions of keys. It writes nothing: a rollback is a publish. It
// may be used concurrently.
type History struct {
	Store  kv.Store
	Layout kv.Layout
	Any    bool                                       // Read returns withdrawn versions and candidates, too
	Wait   func(context.Context, time.Duration) error // see Query
}

// List lists the versions of a key. It reads and verifies the bytes of each.
// The error is a *gate.Missing for a key that is not in the store at all, a *gate.Refusal
// if only a later kvexpress can tell, wraps kv.ErrDenied, or kv.ErrConflict if others publish the key all
// the time, or is the store's.
func (h History) List(ctx context.Context, k kv.Key) (VersionList, error) {
	live := uint64(0)
	for range maxLists {
		numbers, skipped, err := h.numbers(ctx, k, live)
		if err != nil {
			return VersionList{}, err
		}
		s, err := h.snapshot(ctx, k, numbers)
		if err != nil {
			return VersionList{}, err
		}
		if live = s.last(); live > 0 && (len(numbers) == 0 || live > numbers[0]) {
			continue // it was published meanwhile
		}
		l := s.list(numbers)
		if l.Skipped = skipped; len(l.Versions) == 0 {
			return VersionList{}, &gate.Missing{Name: string(k)}
		}
		return l, nil
	}
	return VersionList{}, fmt.Errorf("%s: others publish it faster than its versions can be listed; run it again: %w",
		k, kv.ErrConflict)
}

// numbers lists the versions that have a row in history, with the one that was live a
// moment ago, newest first, and counts those that were left out.
func (h History) numbers(ctx context.Context, k kv.Key, live uint64) (numbers []uint64, skipped int, err error) {
	paths, err := h.Store.Keys(ctx, h.Layout.HistoryDir(k))
	if err != nil {
		return nil, 0, err
	}
	if live > 0 {
		numbers = append(numbers, live)
	}
	for _, path := range paths {
		if n, row, ok := h.Layout.HistoryVersion(k, path); ok && (row == "manifest" || row == "data") {
			numbers = append(numbers, n)
		}
	}
	numbers = descending(numbers)
	skipped = max(0, len(numbers)-maxEntries)
	return numbers[:len(numbers)-skipped], skipped, nil
}

func descending(numbers []uint64) []uint64 {
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	slices.Reverse(numbers)
	return numbers
}

// Read returns versions with their verified bytes, up to entriesPerRead, from one snapshot. 0 is the live version, whatever
// its number.
//
// The error is a *NotKept for a version that the store does not have, or no longer; a *NeverLive for a withdrawn one; a
// *gate.Missing for a key that is not in the store at all; a *gate.Refusal for a damaged
// version, or if only a later kvexpress can tell; it wraps kv.ErrDenied, or is the store's.
func (h History) Read(ctx context.Context, k kv.Key, versions ...uint64) ([]Content, error) {
	numbers := slices.DeleteFunc(slices.Clone(versions), func(n uint64) bool { return n == 0 })
	s, err := h.snapshot(ctx, k, numbers)
	if err != nil {
		return nil, err
	}
	lineage := s.lineage(nil)
	if lineage == "" && len(numbers) > 0 { // its history tells
		l, err := h.List(ctx, k)
		if err != nil {
			return nil, err
		}
		lineage = l.Lineage
	}
	var all []Content
	for _, n := range versions {
		c, kept := s.current()
		if n > 0 {
			c, kept = s.version(n, lineage)
		}
		never := h.Any && (c.State == Withdrawn || c.State == Candidate)
		if !kept || !c.State.Whole() && !never {
			return nil, h.why(ctx, s, n, c, kept)
		}
		all = append(all, c)
	}
	return all, nil
}

// why is the error for a version that cannot be had. It names those that can.
func (h History) why(ctx context.Context, s *snapshot, n uint64, c Content, kept bool) error {
	l, err := h.List(ctx, s.live.Key)
	switch {
	case err != nil:
		return err
	case kept && c.State == OtherLineage:
		return l.notKept(fmt.Sprintf("version %d in its history is of another lineage", n))
	case kept && (c.State == Withdrawn || c.State == Candidate):
		return neverLive(s.live.Key, c.Version)
	case kept:
		return l.refuse(c.Version)
	case n == 0 && s.live.State == Absent:
		return l.notKept("it was deleted, so there is no live version")
	case s.last() > 0 && n > s.last():
		return l.notKept(fmt.Sprintf("there is no version %d, the last one is %d", n, s.last()))
	}
	return l.notKept(fmt.Sprintf("version %d is no longer kept", n))
}

// snapshot reads the live rows and these entries.
func (h History) snapshot(ctx context.Context, k kv.Key, numbers []uint64) (*snapshot, error) {
	s := &snapshot{layout: h.Layout}
	first := numbers[:min(len(numbers), entriesPerRead)]
	accept := func(rows kv.Snapshot) error {
		s.rows = rows
		for n := range slices.Chunk(numbers[len(first):], entriesPerRead) {
			more, err := h.Store.Read(ctx, kv.Default, s.paths(k, n)...)
			if err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			for path, row := range more {
				s.rows[path] = row
			}
		}
		for _, path := range s.paths(k, numbers) {
			if s.rows[path].State == kv.Denied {
				return fmt.Errorf("read %s: %w", path, kv.ErrDenied)
			}
		}
		err := gate.NotStopped(k, rows[h.Layout.Stop(k)])
		if errors.As(err, &s.stopped) {
			return nil
		}
		return err
	}
	var err error
	also := append(s.paths(k, first), h.Layout.Rollout(k))
	s.live, _, err = Read(ctx, h.Store, h.Layout, k, Query{Also: also, Accept: accept, Wait: h.Wait})
	return s, err
}
