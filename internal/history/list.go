package history

import (
	"context"
	"math"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

const (
	// maxEntries is how many entries are looked at. A publisher keeps ten; more
	// are those of a lineage before, or somebody else's.
	maxEntries = 64
	// ahead is how many numbers above the newest that was listed are asked for:
	// publishers may have come in between.
	ahead = 5
	// MaxLists is how often the list is made anew where they were quicker still.
	MaxLists = 5
)

// List tells which versions there are of a key. The bytes of each are read and
// verified. The error is a *gate.Missing for a key of which nothing is there, a
// *gate.Refusal where only a later kvexpress can tell, wraps kv.ErrDenied, or is the
// store's.
func (r Reader) List(ctx context.Context, k kv.Key) (List, error) {
	for n, live := 1, uint64(0); ; n++ {
		numbers, skipped, err := r.numbers(ctx, k)
		if err != nil {
			return List{}, err
		}
		asked := around(numbers, live)
		m, err := r.look(ctx, k, asked)
		if err != nil {
			return List{}, err
		}
		live = m.last()
		behind := live > asked[0]
		if behind && n < MaxLists {
			continue
		}
		l := m.list(asked)
		l.Skipped, l.Behind = skipped, behind
		if len(l.Versions) == 0 {
			return List{}, &gate.Missing{Name: string(k)}
		}
		return l, nil
	}
}

// around is what is asked for, newest first: what was listed, the version that was
// live a moment ago, if that is known, and a few numbers above both.
func around(listed []uint64, live uint64) []uint64 {
	asked := slices.Clone(listed)
	newest := live
	if live > 0 {
		asked = append(asked, live)
	}
	if len(listed) > 0 {
		newest = max(live, listed[0])
	}
	for n := newest; n < math.MaxUint64 && n < newest+ahead; n++ {
		asked = append(asked, n+1)
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	slices.Reverse(asked)
	return asked
}

// numbers lists the versions of which anything is in history, newest first, and
// how many were left out.
func (r Reader) numbers(ctx context.Context, k kv.Key) ([]uint64, int, error) {
	dir := r.Layout.HistoryDir(k)
	paths, err := r.Store.Keys(ctx, dir)
	if err != nil {
		return nil, 0, err
	}
	var numbers []uint64
	for _, path := range paths {
		if n, row, ok := r.Layout.HistoryVersion(k, path); ok && (row == "manifest" || row == "data") {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	slices.Reverse(numbers)
	if len(numbers) <= maxEntries {
		return numbers, 0, nil
	}
	// Whatever is above must not crowd out what is below the live version.
	m, err := r.look(ctx, k, nil)
	if err != nil {
		return nil, 0, err
	}
	if at := slices.IndexFunc(numbers, func(n uint64) bool { return n <= m.last() }); at > 0 {
		numbers = append(slices.Clone(numbers[at:]), numbers[:at]...)
	}
	skipped := len(numbers) - maxEntries
	numbers = numbers[:maxEntries]
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, skipped, nil
}

// list judges what was read of these entries, the newest first.
func (m *moment) list(numbers []uint64) List {
	l := List{Key: m.key, State: m.live.State, Last: m.last(), SHA256: m.live.SHA256, Stopped: m.stopped,
		Lineage: m.lineage(numbers)}
	if l.SHA256 == "" && m.live.Manifest != nil {
		l.SHA256 = m.live.Manifest.SHA256
	}
	live, stands := m.standing()
	if stands && live.Number > 0 && !slices.Contains(numbers, live.Number) {
		at := slices.IndexFunc(numbers, func(n uint64) bool { return n < live.Number })
		if at < 0 {
			at = len(numbers)
		}
		numbers = slices.Insert(slices.Clone(numbers), at, live.Number)
	}
	if stands && live.Number == 0 {
		l.Versions = append(l.Versions, live.Version)
	}
	for _, n := range numbers {
		if c, kept := m.version(n, l.Lineage); kept {
			l.Versions = append(l.Versions, c.Version)
		}
	}
	return l
}

// lineage is that of what stands; without a manifest, that of the newest entry, as
// the next publish would have it.
func (m *moment) lineage(numbers []uint64) string {
	if m.live.Manifest != nil {
		return m.live.Manifest.Lineage
	}
	for _, n := range numbers {
		if c, kept := m.past(n); kept && c.Manifest != nil {
			return c.Manifest.Lineage
		}
	}
	return ""
}
