package publish

import (
	"context"
	"maps"
	"slices"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// keepWithdrawn is how many withdrawn versions are kept, the newest.
const keepWithdrawn = 3

// maxPruned is how many rows of history a publish removes; a version has two to four. After a restore there may be many to
// remove: each publish removes a few.
const maxPruned = 12

// outdated are the oldest versions that are not kept, some of them: of those that were live, what the policy does not keep, and
// of those that were withdrawn, all but the newest three. A candidate does not count.
func (p *Publisher) outdated(ctx context.Context, pl *plan, b base, at place, load parcel) ([]uint64, error) {
	k, fresh := pl.manifest.Key, 1
	if pl.row.Path != "" {
		fresh = 0
	}
	if at.enters {
		fresh++
	}
	past, withdrawn := slices.Sorted(maps.Keys(at.rows)), p.withdrawn(k, at)
	past = slices.DeleteFunc(past, func(n uint64) bool {
		candidate := b.open() != nil && n == b.open().Version
		return n >= at.version || at.enters && n == at.previous || candidate || slices.Contains(withdrawn, n)
	})
	all, h := len(past)+fresh, b.policy.History
	value, _ := load.past()
	past = past[:min(max(0, all-h.Keep(len(value))), maxPruned)]
	gone := withdrawn[:max(0, len(withdrawn)-keepWithdrawn)]
	if h.Days == 0 || len(past) == 0 {
		return append(past, gone...), nil
	}
	var paths []string
	for _, n := range past {
		paths = append(paths, p.Layout.HistoryManifest(k, n))
	}
	rows, err := p.read(ctx, AtHistoryRead, kv.Default, paths...)
	if err != nil {
		return nil, err
	}
	for i, path := range paths {
		m, err := record.ParseManifest(k, rows[path].Value)
		if rows[path].State == kv.Denied || err == nil && h.Young(m.PublishedAt, p.Now(), all-1-i, len(value)) {
			past = past[:i]
			break
		}
	}
	return append(past, gone...), nil
}

// prune removes versions, but not the one that is replaced.
func (at place) prune(numbers []uint64, replaced uint64) (ops []kv.Op) {
	for _, n := range numbers {
		for _, path := range at.rows[n] {
			if n != replaced && len(ops) < maxPruned {
				ops = append(ops, kv.Op{Verb: kv.Delete, Path: path})
			}
		}
	}
	return ops
}
