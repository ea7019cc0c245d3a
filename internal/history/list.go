package history

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

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
	// maxLists is how often the list is made anew where they were quicker still.
	maxLists = 3
)

// List tells which versions there are of a key. The bytes of each are read and
// verified. The error is a *gate.Missing for a key of which nothing is there, a
// *gate.Refusal where only a later kvexpress can tell, wraps kv.ErrDenied, or is the
// store's.
func (r Reader) List(ctx context.Context, k kv.Key) (List, error) {
	for n := 1; ; n++ {
		numbers, skipped, err := r.numbers(ctx, k)
		if err != nil {
			return List{}, err
		}
		newest := uint64(0)
		if len(numbers) > 0 {
			newest = numbers[0]
		}
		asked := numbers
		for i := range uint64(ahead) {
			if newest < math.MaxUint64-ahead {
				asked = slices.Insert(asked, 0, newest+1+i)
			}
		}
		m, err := r.look(ctx, k, asked)
		switch {
		case err != nil:
			return List{}, err
		case len(numbers) > 0 && m.last() > asked[0] && n < maxLists:
			continue
		}
		l := m.list(asked)
		l.Skipped = skipped
		if len(l.Versions) == 0 {
			return List{}, &gate.Missing{Name: string(k)}
		}
		return l, nil
	}
}

// numbers lists the versions of which anything is in history, newest first, and
// how many were left out.
func (r Reader) numbers(ctx context.Context, k kv.Key) ([]uint64, int, error) {
	dir := r.Layout.HistoryDir(k)
	paths, err := r.Store.Keys(ctx, dir)
	switch {
	case errors.Is(err, kv.ErrDenied):
		return nil, 0, r.denied("list "+dir, k)
	case err != nil:
		return nil, 0, err
	}
	var numbers []uint64
	for _, path := range paths {
		if entry, ok := strings.CutSuffix(path, "/data"); ok {
			path = entry + "/manifest"
		}
		if n, ok := r.Layout.HistoryVersion(k, path); ok {
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
	l := List{Key: m.key, State: m.live.State, Last: m.last(), SHA256: m.live.SHA256, Stopped: m.stopped, Lineage: m.lineage(numbers)}
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
		c, kept := m.version(n, l.Lineage)
		if kept && !m.orphan(c.Version) {
			l.Versions = append(l.Versions, c.Version)
		}
	}
	return l
}

// orphan reports whether a version was never live: a publish put its history
// there, and did not get any further.
func (m *moment) orphan(v Version) bool {
	return m.last() > 0 && v.Number > m.last() && v.Manifest != nil && v.State != OtherLineage
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
