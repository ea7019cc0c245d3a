package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// base is what an attempt builds on: the rows as read, and the live version that they are.
type base struct {
	record.Live
	rows   kv.Snapshot
	policy rollout.Policy
	// rollout is the last one of the key; nil: none, or not readable here.
	rollout *rollout.Row
}

// notes says what people should know about it.
func (b base) notes(req Request, l kv.Layout) []string {
	var notes []string
	if b.State == record.Damaged {
		notes = append(notes, "the live version was damaged: "+b.Why)
	}
	if req.IgnoreStop && gate.NotStopped(req.Key, b.rows[l.Stop(req.Key)]) != nil {
		notes = append(notes, "the key is stopped: nodes stay frozen until `kvexpress resume -k "+string(req.Key)+"`")
	}
	return notes
}

// readLive reads the live version, and refuses a key that is nested or stopped.
func (p *Publisher) readLive(ctx context.Context, req Request) (b base, err error) {
	k, l := req.Key, p.Layout
	also := []string{l.Policy(k), l.Rollout(k)}
	if req.Event != nil {
		also = append(also, l.Events(k))
	}
	for _, up := range k.Ancestors() {
		also = append(also, l.Checksum(up))
	}
	accept := func(rows kv.Snapshot) error {
		// A publisher may have no rights on the keys above: if it cannot read them, they are
		// not held against it.
		for _, up := range k.Ancestors() {
			if rows[l.Checksum(up)].State == kv.Present {
				return gate.Nested(k, up)
			}
		}
		stop := rows[l.Stop(k)]
		if stop.State == kv.Denied {
			return fmt.Errorf("read %s: %w", l.Stop(k), kv.ErrDenied)
		}
		if err := gate.NotStopped(k, stop); err != nil && !req.IgnoreStop {
			return err
		}
		var err error
		if b.policy, err = rollout.Parse(k, rows[l.Policy(k)]); err != nil {
			return err
		}
		b.rollout, err = rollout.ParseRow(k, rows[l.Rollout(k)])
		if req.Now || errors.Is(err, kv.ErrDenied) && !req.staged(b.policy) {
			err = nil
		}
		return err
	}
	b.Live, b.rows, err = record.Read(ctx, faulty{p}, l, k, record.Query{Also: also, Accept: accept, Wait: p.Wait})
	return b, err
}

// compare compares the content with the live version, if there are limits, or for a dry run. The policy has none for a version
// that was live before.
func compare(req Request, b base, d record.Decision) (*gate.Change, error) {
	s, policy := b.Live, b.policy.Limits()
	if req.past {
		policy = gate.Limits{}
	}
	limited := req.Limits.Any() || policy.Any()
	switch {
	case !limited && !req.DryRun, s.State == record.Absent, d == record.Heal:
		return nil, nil
	case s.Plain == nil && limited:
		return nil, &gate.Refusal{
			Reason: gate.Corrupt, Key: req.Key, Detail: "the live version is damaged, so nothing can be compared with it: " + s.Why,
			Remedy: "check the new content; then run it again without --max-shrink and --max-change, and these rules of its policy",
		}
	case s.Plain == nil:
		return nil, nil
	}
	c := gate.Compare(s.Plain, req.Content)
	return &c, cmp.Or(req.Limits.Check(req.Key, c), policy.Check(req.Key, c))
}

// place is where a new version goes.
type place struct {
	lineage string
	version uint64
	// previous is the number of the content that it replaces; 0: none.
	previous uint64
	// rows are the paths of history, by version.
	rows map[uint64][]string
	// mark is the index of the row that marks the number as never live; 0: there is none.
	mark uint64
	// enters: the content of 1.x takes the number before, because history does not have it.
	enters bool
}

// succeed finds the place after the live version: above all numbers in history, of withdrawn versions and of the last rollout.
// Some are above the live one if it was deleted or restored. Entries that were never live, and never a candidate, do not count.
func (p *Publisher) succeed(ctx context.Context, k kv.Key, b base) (place, error) {
	if b.State == record.Absent {
		if err := p.noneBelow(ctx, k); err != nil {
			return place{}, err
		}
	}
	paths, err := p.keys(ctx, AtHistoryList, p.Layout.HistoryDir(k))
	if err != nil {
		return place{}, err
	}
	at := place{rows: map[uint64][]string{}}
	for _, path := range paths {
		if v, _, ok := p.Layout.HistoryVersion(k, path); ok {
			at.rows[v] = append(at.rows[v], path)
		}
	}
	if b.Manifest != nil {
		at.lineage, at.version = b.Manifest.Lineage, b.Manifest.Version
	}
	past, err := p.above(ctx, k, at)
	if err != nil {
		return place{}, err
	}
	at.enters = b.State == record.Unmanaged && b.SHA256 != past.sha256
	switch {
	case b.State == record.Unmanaged:
		at.previous = past.version
	case b.Manifest != nil:
		at.previous = b.Manifest.Version
	}
	if at.lineage, at.version = past.lineage, past.version; past.lineage == "" || past.version >= math.MaxUint64-1 {
		at.lineage, at.version, at.previous = kv.NewID(), 0, 0
	}
	at.version = max(at.version, p.reserved(k, b, at))
	if at.version++; at.enters {
		at.previous = at.version
		at.version++
	}
	at.mark = past.marks[at.version]
	return at, nil
}

// reserved is the highest number of a candidate.
func (p *Publisher) reserved(k kv.Key, b base, at place) (highest uint64) {
	unread := b.rollout == nil && b.rows[p.Layout.Rollout(k)].State != kv.Absent
	for n, rows := range at.rows {
		if unread || slices.Contains(rows, p.Layout.HistoryWithdrawn(k, n)) {
			highest = max(highest, n)
		}
	}
	if b.rollout != nil && b.rollout.Version < math.MaxInt64-1 {
		highest = max(highest, b.rollout.Version)
	}
	return highest
}

// past is what history has above the live manifest.
type past struct {
	lineage string            // of the live manifest, or else of the newest readable manifest
	version uint64            // the highest that was live
	sha256  string            // of its bytes; "" if it is the live one
	marks   map[uint64]uint64 // indexes of the marks of versions that were never live
}

// above reads the versions in history above the one in at, the newest first.
func (p *Publisher) above(ctx context.Context, k kv.Key, at place) (past, error) {
	found := past{lineage: at.lineage, version: at.version, marks: map[uint64]uint64{}}
	numbers := slices.DeleteFunc(slices.Sorted(maps.Keys(at.rows)), func(n uint64) bool { return n <= at.version })
	slices.Reverse(numbers)
	for some := range slices.Chunk(numbers, kv.MaxOps/2) {
		if found.version > at.version && found.lineage != "" {
			break
		}
		var paths []string
		for _, n := range some {
			paths = append(paths, p.Layout.HistoryManifest(k, n), p.Layout.HistoryPending(k, n))
		}
		rows, err := p.read(ctx, AtHistoryRead, kv.Default, paths...)
		if err != nil {
			return past{}, err
		}
		for _, n := range some {
			row, mark := rows[p.Layout.HistoryManifest(k, n)], rows[p.Layout.HistoryPending(k, n)]
			if row.State == kv.Denied || mark.State == kv.Denied {
				return past{}, fmt.Errorf("read %s: %w", p.Layout.HistoryDir(k), kv.ErrDenied)
			}
			if found.marks[n] = mark.Index; len(mark.Value) > 0 {
				continue
			}
			m, err := record.ParseManifest(k, row.Value)
			if n > found.version {
				found.version, found.sha256 = n, m.SHA256
			}
			if err == nil && found.lineage == "" {
				found.lineage = m.Lineage
			}
		}
	}
	return found, nil
}

// noneBelow refuses a new key if another key is nested in it.
func (p *Publisher) noneBelow(ctx context.Context, k kv.Key) error {
	paths, err := p.keys(ctx, AtNested, p.Layout.Dir(k))
	if err != nil {
		return err
	}
	if below, ok := gate.KeyBelow(p.Layout, k, paths); ok {
		return gate.Nested(k, below)
	}
	return nil
}
