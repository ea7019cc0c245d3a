package publish

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// base is what an attempt builds on: the rows as read, and what they mean.
type base struct {
	gate.Standing
	data, checksum, manifest, stop, events kv.Entry
}

// notes tells people what was found.
func (b base) notes(req Request) []string {
	var notes []string
	if b.State == gate.Damaged {
		notes = append(notes, "what stood was damaged: "+b.Why)
	}
	if req.IgnoreStop && gate.NotStopped(req.Key, b.stop) != nil {
		notes = append(notes, "published under a stop: nodes stay frozen until `kvexpress resume -k "+string(req.Key)+"`")
	}
	return notes
}

// look reads what stands under the key, and gates what only the store can
// tell: rights, nesting, stop.
func (p *Publisher) look(ctx context.Context, req Request) (base, error) {
	return p.settled(ctx, func() (base, error) { return p.lookOnce(ctx, req) })
}

// Standing reads what stands under a key, to publish it elsewhere. The errors are
// those of the store and of gate.Examine.
func (p *Publisher) Standing(ctx context.Context, k kv.Key) (gate.Standing, error) {
	p = p.filled()
	data, checksum, manifest := p.Layout.Data(k), p.Layout.Checksum(k), p.Layout.Manifest(k)
	b, err := p.settled(ctx, func() (b base, err error) {
		rows, err := p.read(ctx, StepRead, kv.Default, data, checksum, manifest)
		if err == nil {
			b.Standing, err = gate.Examine(k, rows[data], rows[checksum], rows[manifest])
		}
		return b, err
	})
	return b.Standing, err
}

// settled reads again while what stands is torn, as long as that may heal.
func (p *Publisher) settled(ctx context.Context, read func() (base, error)) (b base, err error) {
	err = wait.Again(ctx, p.Wait, gate.TornWaits(), func() (bool, error) {
		b, err = read()
		return b.Torn, err
	})
	return b, err
}

func (p *Publisher) lookOnce(ctx context.Context, req Request) (base, error) {
	k, l := req.Key, p.Layout
	own := []string{l.Data(k), l.Checksum(k), l.Manifest(k), l.Stop(k)}
	paths := own
	if req.Event != nil {
		paths = append(paths, l.Events(k))
	}
	for _, up := range k.Ancestors() {
		paths = append(paths, l.Checksum(up))
	}
	rows, err := p.read(ctx, StepRead, kv.Default, paths...)
	if err != nil {
		return base{}, err
	}
	for _, path := range own {
		if rows[path].State == kv.Denied {
			return base{}, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
		}
	}
	// A publisher may well have no rights on the keys above: those that it
	// cannot see are not held against it.
	for _, up := range k.Ancestors() {
		if rows[l.Checksum(up)].State == kv.Present {
			return base{}, gate.Nested(k, up)
		}
	}
	b := base{data: rows[own[0]], checksum: rows[own[1]], manifest: rows[own[2]], stop: rows[own[3]], events: rows[l.Events(k)]}
	if !req.IgnoreStop {
		if err := gate.NotStopped(k, b.stop); err != nil {
			return base{}, err
		}
	}
	b.Standing, err = gate.Examine(k, b.data, b.checksum, b.manifest)
	return b, err
}

// compare holds the content against what stands, if there are limits, or for a dry run.
func compare(req Request, s gate.Standing, d gate.Decision) (*gate.Change, error) {
	switch {
	case !req.Limits.Any() && !req.DryRun, s.State == gate.Absent, d == gate.Heal:
		return nil, nil
	case s.Plain == nil && req.Limits.Any():
		return nil, &gate.Refusal{
			Reason: gate.Corrupt, Key: req.Key, Detail: "the live version is damaged, so nothing can be compared with it: " + s.Why,
			Remedy: "check the new content; then run it again without --max-shrink and --max-change",
		}
	case s.Plain == nil:
		return nil, nil
	}
	c := gate.Compare(s.Plain, req.Content)
	return &c, req.Limits.Check(req.Key, c)
}

// place is where a new version goes.
type place struct {
	lineage string
	version uint64
	// rows are the paths of history, by version.
	rows map[uint64][]string
	// enters: what 1.x wrote takes the number before, for history does not have it.
	enters bool
}

// succeed finds the place after what stands: above all numbers that history has. Some
// may be above the live one, if it was deleted or restored. What a publish put there
// and did not make live does not count.
func (p *Publisher) succeed(ctx context.Context, k kv.Key, s gate.Standing) (place, error) {
	if s.State == gate.Absent {
		if err := p.noneBelow(ctx, k); err != nil {
			return place{}, err
		}
	}
	paths, err := p.keys(ctx, StepHistoryList, p.Layout.HistoryDir(k))
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
	at.enters = s.State == gate.Unmanaged && s.SHA256 != newest
	if at.version++; at.enters {
		at.version++
	}
	return at, nil
}

// above reads the versions that history has above the one in at. It tells the highest,
// the SHA-256 of its bytes ("" if it is the one in at), and the lineage: that in at, or
// else of the newest whose manifest can be read.
func (p *Publisher) above(ctx context.Context, k kv.Key, at place) (lineage string, version uint64, sha256 string, err error) {
	lineage, version = at.lineage, at.version
	numbers := slices.DeleteFunc(slices.Sorted(maps.Keys(at.rows)), func(n uint64) bool { return n <= version })
	if len(numbers) == 0 {
		return lineage, version, "", nil
	}
	slices.Reverse(numbers)
	numbers = numbers[:min(len(numbers), kv.MaxOps/2)]
	var paths []string
	for _, n := range numbers {
		paths = append(paths, p.Layout.HistoryManifest(k, n), p.Layout.HistoryPending(k, n))
	}
	rows, err := p.read(ctx, StepHistoryRead, kv.Default, paths...)
	if err != nil {
		return "", 0, "", err
	}
	for _, n := range numbers {
		row, mark := rows[p.Layout.HistoryManifest(k, n)], rows[p.Layout.HistoryPending(k, n)]
		if row.State == kv.Denied || mark.State == kv.Denied {
			return "", 0, "", fmt.Errorf("read %s: %w", p.Layout.HistoryDir(k), kv.ErrDenied)
		}
		if len(mark.Value) > 0 {
			continue
		}
		m, err := gate.ReadManifest(k, row.Value)
		if n > version {
			version, sha256 = n, m.SHA256
		}
		if err == nil && lineage == "" {
			lineage = m.Lineage
		}
	}
	return lineage, version, sha256, nil
}

// noneBelow refuses a new key in whose folder another one exists.
func (p *Publisher) noneBelow(ctx context.Context, k kv.Key) error {
	paths, err := p.keys(ctx, StepNested, p.Layout.Dir(k))
	if err != nil {
		return err
	}
	if below, ok := gate.KeyBelow(p.Layout, k, paths); ok {
		return gate.Nested(k, below)
	}
	return nil
}
