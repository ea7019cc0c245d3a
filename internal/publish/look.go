package publish

import (
	"context"
	"fmt"
	"math"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// base is what an attempt builds on: the rows as read, and what they mean.
type base struct {
	gate.Standing
	data, checksum, manifest, stop kv.Entry
}

// notes tells people what was found.
func (b base) notes(req Request) []string {
	var notes []string
	if b.State == gate.Damaged {
		notes = append(notes, "what stood was damaged: "+b.Why)
	}
	if b.State == gate.Unmanaged && b.Manifest != nil {
		notes = append(notes, fmt.Sprintf("kvexpress 1.x wrote after version %d", b.Manifest.Version))
	}
	if req.IgnoreStop && gate.NotStopped(req.Key, b.stop) != nil {
		notes = append(notes, "published under a stop: nodes stay frozen until `kvexpress resume`")
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
	for _, up := range k.Ancestors() {
		paths = append(paths, l.Checksum(up))
	}
	rows, err := p.read(ctx, StepRead, kv.Default, paths...)
	if err != nil {
		return base{}, err
	}
	for _, path := range own {
		if rows[path].State == kv.Denied {
			return base{}, denied("read "+path, k)
		}
	}
	// A publisher may well have no rights on the keys above: those that it
	// cannot see are not held against it.
	for _, up := range k.Ancestors() {
		if rows[l.Checksum(up)].State == kv.Present {
			return base{}, gate.Nested(k, up)
		}
	}
	b := base{data: rows[own[0]], checksum: rows[own[1]], manifest: rows[own[2]], stop: rows[own[3]]}
	if !req.IgnoreStop {
		if err := gate.NotStopped(k, b.stop); err != nil {
			return base{}, err
		}
	}
	b.Standing, err = gate.Examine(k, b.data, b.checksum, b.manifest)
	return b, err
}

// place is where a new version stands.
type place struct {
	lineage string
	version uint64
}

// succeed finds the place after what stands. A key without a readable manifest
// goes on from its history, so that one that was deleted and made again is not
// taken for an older one by the nodes.
func (p *Publisher) succeed(ctx context.Context, k kv.Key, s gate.Standing) (place, error) {
	if s.Manifest != nil {
		return p.after(s.Manifest.Lineage, s.Manifest.Version), nil
	}
	if s.State == gate.Absent {
		if err := p.noneBelow(ctx, k); err != nil {
			return place{}, err
		}
	}
	paths, err := p.keys(ctx, StepHistoryList, k, p.Layout.HistoryDir(k))
	if err != nil {
		return place{}, err
	}
	var versions []uint64
	for _, path := range paths {
		if v, ok := p.Layout.HistoryVersion(k, path); ok {
			versions = append(versions, v)
		}
	}
	if len(versions) == 0 {
		return p.after("", 0), nil
	}
	slices.Sort(versions)
	slices.Reverse(versions)
	lineage, err := p.lineage(ctx, k, versions)
	return p.after(lineage, versions[0]), err
}

// after is the next place in a lineage, or the first of a new one where there
// is none to go on with.
func (p *Publisher) after(lineage string, version uint64) place {
	if lineage == "" || version == math.MaxUint64 {
		return place{lineage: kv.NewID(), version: 1}
	}
	return place{lineage: lineage, version: version + 1}
}

// lineage is that of the newest past version whose manifest can be read, or "".
func (p *Publisher) lineage(ctx context.Context, k kv.Key, newestFirst []uint64) (string, error) {
	var paths []string
	for _, v := range newestFirst[:min(len(newestFirst), kv.MaxOps)] {
		paths = append(paths, p.Layout.HistoryManifest(k, v))
	}
	rows, err := p.read(ctx, StepHistoryRead, kv.Default, paths...)
	if err != nil {
		return "", err
	}
	for _, path := range paths {
		if rows[path].State == kv.Denied {
			return "", denied("read "+path, k)
		}
		if m, err := gate.ReadManifest(k, rows[path].Value); err == nil {
			return m.Lineage, nil
		}
	}
	return "", nil
}

// noneBelow refuses a new key in whose folder another one exists.
func (p *Publisher) noneBelow(ctx context.Context, k kv.Key) error {
	paths, err := p.keys(ctx, StepNested, k, p.Layout.Dir(k))
	if err != nil {
		return err
	}
	if below, ok := gate.KeyBelow(p.Layout, k, paths); ok {
		return gate.Nested(k, below)
	}
	return nil
}
