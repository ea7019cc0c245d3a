package publish

import (
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"kvexpress/internal/codec"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// keptVersions is how many versions a key's history holds, the live one
// counted.
const keptVersions = 10

// parcel is content that passed the gate, ready to be stored.
type parcel struct {
	plain, stored []byte
	encoding      codec.Encoding
	sha256        string
	lines         int
	// past is how history holds it, with the KV flags. It costs a compression,
	// made once and only when something is to be written.
	past func() (value []byte, flags uint64)
	// nodes counts the fleet, once and only when something is to be written.
	nodes func() int
}

// pack gates the content, before any request, and encodes it.
func pack(req Request) (parcel, error) {
	if err := gate.Message(req.Message); err != nil {
		return parcel{}, fmt.Errorf("publish %s: %w", req.Key, err)
	}
	if err := gate.Content(req.Key, req.Content, req.MinLines); err != nil {
		return parcel{}, err
	}
	e := req.Encoding
	if e == "" {
		e = codec.Plain
	}
	stored, err := codec.Encode(e, req.Content)
	if err != nil {
		return parcel{}, fmt.Errorf("publish %s: %w", req.Key, err)
	}
	if err := gate.StoredSize(req.Key, len(stored), e); err != nil {
		return parcel{}, err
	}
	return parcel{
		plain: req.Content, stored: stored, encoding: e,
		sha256: codec.Checksum(req.Content), lines: codec.Lines(req.Content),
		past: sync.OnceValues(func() ([]byte, uint64) {
			z, err := codec.Pack(req.Content)
			if err != nil || len(z) > len(stored) {
				return stored, e.Flags()
			}
			return z, codec.Zstd.Flags()
		}),
	}, nil
}

// plan is what one attempt writes.
type plan struct {
	manifest kv.Manifest
	began    time.Time // PublishedAt, with a monotonic reading: UTC drops it
	base     uint64    // Index of the manifest row that it replaces; 0: none
	// continues: its place follows that of the manifest that it replaces.
	continues bool
	// first puts the history entry there, its manifest in the first operation,
	// when it does not fit into flip.
	first []kv.Op
	// flip makes the version live. It fails if anything that was read has
	// changed since, and so at most one of any number of competitors succeeds.
	flip []kv.Op
}

func (p *Publisher) plan(req Request, load parcel, b base, at place) (plan, error) {
	k, l := req.Key, p.Layout
	nodes := 0
	if !req.DryRun {
		nodes = load.nodes()
	}
	now := p.Now()
	pl := plan{
		base: b.manifest.Index, continues: b.Manifest != nil, began: now,
		manifest: kv.Manifest{
			Format: kv.ManifestFormat, Lineage: at.lineage, Version: at.version, PublishID: kv.NewID(),
			Key: k, SHA256: load.sha256, Size: int64(len(load.plain)), Lines: load.lines,
			Encoding: string(load.encoding), PublishedAt: now.UTC(), ClockOffset: kv.ClockOffset(p.Store),
			By: gate.Author(p.By), Message: req.Message, Nodes: nodes,
		},
	}
	manifest, err := pl.manifest.Marshal()
	if err != nil {
		return plan{}, err
	}
	pl.flip = []kv.Op{
		{Verb: kv.CheckAndSet, Path: l.Data(k), Index: b.data.Index, Value: load.stored, Flags: load.encoding.Flags()},
		{Verb: kv.CheckAndSet, Path: l.Checksum(k), Index: b.checksum.Index, Value: []byte(load.sha256)},
		{Verb: kv.CheckAndSet, Path: l.Manifest(k), Index: b.manifest.Index, Value: manifest},
	}
	if !req.IgnoreStop {
		pl.flip = append(pl.flip, unchanged(l.Stop(k), b.stop.Index))
	}
	past, flags := load.past()
	history := []kv.Op{
		{Verb: kv.Set, Path: l.HistoryManifest(k, at.version), Value: manifest},
		{Verb: kv.Set, Path: l.HistoryData(k, at.version), Value: past, Flags: flags},
	}
	if at.version > keptVersions {
		history = append(history,
			kv.Op{Verb: kv.Delete, Path: l.HistoryManifest(k, at.version-keptVersions)},
			kv.Op{Verb: kv.Delete, Path: l.HistoryData(k, at.version-keptVersions)})
	}
	if bodySize(pl.flip)+bodySize(history) <= kv.MaxTxnBody {
		pl.flip = append(pl.flip, history...)
		return pl, nil
	}
	// The history entry of a competitor who comes after this check fails our
	// flip, see carryOut; one who has flipped before it fails this.
	pl.first = append(history, unchanged(l.Manifest(k), b.manifest.Index))
	return pl, nil
}

// unchanged checks that a row still has the Index that was read: 0, that it
// does not exist.
func unchanged(path string, index uint64) kv.Op {
	if index == 0 {
		return kv.Op{Verb: kv.CheckAbsent, Path: path}
	}
	return kv.Op{Verb: kv.CheckIndex, Path: path, Index: index}
}

// opOverhead is the JSON around path and value of one operation in a request
// to Consul, in bytes, rounded up.
const opOverhead = 160

// bodySize is an upper bound, in bytes, of what ops become in a request.
func bodySize(ops []kv.Op) int {
	size := 0
	for _, op := range ops {
		size += opOverhead + len(op.Path) + base64.StdEncoding.EncodedLen(len(op.Value))
	}
	return size
}
