package record

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

const (
	// maxEntries is how many entries are read. A publisher keeps ten; more are from another
	// lineage or another program.
	maxEntries = 64
	// ahead is how many numbers above the newest listed one are read too: publishers may have
	// written them since.
	ahead = 5
	// MaxLists is how often the list is made again while publishers are faster.
	MaxLists = 5
)

// History reads the past versions of keys. It writes nothing: a rollback is a publish. It
// may be used concurrently.
type History struct {
	Store  kv.Store
	Layout kv.Layout
	Wait   func(context.Context, time.Duration) error // see Query
}

// List tells which versions there are of a key. It reads and verifies the bytes of each.
// The error is a *gate.Missing for a key that is not in the store at all, a *gate.Refusal
// if only a later kvexpress can tell, wraps kv.ErrDenied, or is the store's.
func (h History) List(ctx context.Context, k kv.Key) (VersionList, error) {
	for n, live := 1, uint64(0); ; n++ {
		numbers, skipped, err := h.numbers(ctx, k)
		if err != nil {
			return VersionList{}, err
		}
		asked := around(numbers, live)
		s, err := h.snapshot(ctx, k, asked)
		if err != nil {
			return VersionList{}, err
		}
		live = s.last()
		outdated := live > asked[0]
		if outdated && n < MaxLists {
			continue
		}
		l := s.list(asked)
		l.Skipped, l.Incomplete = skipped, outdated
		if len(l.Versions) == 0 {
			return VersionList{}, &gate.Missing{Name: string(k)}
		}
		return l, nil
	}
}

// around is what to read, newest first: the listed numbers, the version that was
// live a moment ago, and a few numbers above both.
func around(listed []uint64, live uint64) []uint64 {
	asked, newest := slices.Clone(listed), live
	if live > 0 {
		asked = append(asked, live)
	}
	if len(listed) > 0 {
		newest = max(live, listed[0])
	}
	for n := newest; n < math.MaxUint64 && n < newest+ahead; n++ {
		asked = append(asked, n+1)
	}
	return descending(asked)
}

func descending(numbers []uint64) []uint64 {
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	slices.Reverse(numbers)
	return numbers
}

// numbers lists the versions that have a row in history, newest first, and counts those
// that were left out.
func (h History) numbers(ctx context.Context, k kv.Key) ([]uint64, int, error) {
	paths, err := h.Store.Keys(ctx, h.Layout.HistoryDir(k))
	if err != nil {
		return nil, 0, err
	}
	var numbers []uint64
	for _, path := range paths {
		if n, row, ok := h.Layout.HistoryVersion(k, path); ok && (row == "manifest" || row == "data") {
			numbers = append(numbers, n)
		}
	}
	numbers = descending(numbers)
	if len(numbers) <= maxEntries {
		return numbers, 0, nil
	}
	// Entries above the live version must not crowd out those below it.
	s, err := h.snapshot(ctx, k, nil)
	if err != nil {
		return nil, 0, err
	}
	if at := slices.IndexFunc(numbers, func(n uint64) bool { return n <= s.last() }); at > 0 {
		numbers = append(slices.Clone(numbers[at:]), numbers[:at]...)
	}
	return descending(numbers[:maxEntries]), len(numbers) - maxEntries, nil
}

// Read returns versions with their verified bytes, all of one moment: up to
// entriesPerRead. 0 is the live version, whatever its number.
//
// The error is a *NotKept for a version that the store does not have, or no longer; a
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
		if !kept || !c.State.Whole() {
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
	s.live, _, err = Read(ctx, h.Store, h.Layout, k, Query{Also: s.paths(k, first), Accept: accept, Wait: h.Wait})
	return s, err
}
