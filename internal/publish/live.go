package publish

import (
	"cmp"
	"context"
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
	also := []string{l.Policy(k)}
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
		b.policy, err = rollout.Parse(k, rows[l.Policy(k)])
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
	// rows are the paths of history, by version.
	rows map[uint64][]string
	// enters: the content of 1.x takes the number before, because history does not have it.
	enters bool
}

// succeed finds the place after the live version: above all numbers in history. Some
// are above the live one if it was deleted or restored. Entries that were never live do
// not count.
func (p *Publisher) succeed(ctx context.Context, k kv.Key, s record.Live) (place, error) {
	if s.State == record.Absent {
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
	if s.Manifest != nil {
		at.lineage, at.version = s.Manifest.Lineage, s.Manifest.Version
	}
	lineage, version, newest, err := p.above(ctx, k, at)
	if err != nil {
		return place{}, err
	}
	if at.lineage, at.version = lineage, version; lineage == "" || version >= math.MaxUint64-1 {
		at.lineage, at.version = kv.NewID(), 0
	}
	at.enters = s.State == record.Unmanaged && s.SHA256 != newest
	if at.version++; at.enters {
		at.version++
	}
	return at, nil
}

// above reads the versions in history above the one in at, the newest first. It returns the highest,
// the SHA-256 of its bytes ("" if it is the one in at), and the lineage: the one in at, or
// else of the newest readable manifest.
func (p *Publisher) above(ctx context.Context, k kv.Key, at place) (lineage string, version uint64, sha256 string, err error) {
	lineage, version = at.lineage, at.version
	numbers := slices.DeleteFunc(slices.Sorted(maps.Keys(at.rows)), func(n uint64) bool { return n <= version })
	if len(numbers) == 0 {
		return lineage, version, "", nil
	}
	slices.Reverse(numbers)
	for some := range slices.Chunk(numbers, kv.MaxOps/2) {
		if version > at.version && lineage != "" {
			break
		}
		var paths []string
		for _, n := range some {
			paths = append(paths, p.Layout.HistoryManifest(k, n), p.Layout.HistoryPending(k, n))
		}
		rows, err := p.read(ctx, AtHistoryRead, kv.Default, paths...)
		if err != nil {
			return "", 0, "", err
		}
		for _, n := range some {
			row, mark := rows[p.Layout.HistoryManifest(k, n)], rows[p.Layout.HistoryPending(k, n)]
			if row.State == kv.Denied || mark.State == kv.Denied {
				return "", 0, "", fmt.Errorf("read %s: %w", p.Layout.HistoryDir(k), kv.ErrDenied)
			}
			if len(mark.Value) > 0 {
				continue
			}
			m, err := record.ParseManifest(k, row.Value)
			if n > version {
				version, sha256 = n, m.SHA256
			}
			if err == nil && lineage == "" {
				lineage = m.Lineage
			}
		}
	}
	return lineage, version, sha256, nil
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
