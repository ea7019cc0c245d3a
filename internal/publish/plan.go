package publish

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// keptVersions is how many versions a key's history holds, the live one
// counted.
const keptVersions = 10

// parcel is content that passed the gate, ready to be stored.
type parcel struct {
	plain, stored []byte
	encoding      record.Encoding
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
	lines := record.Lines(req.Content)
	if err := gate.Publishable(req.Key, len(req.Content), lines, req.MinLines); err != nil {
		return parcel{}, err
	}
	e := req.Encoding
	if e == "" {
		e = record.Plain
	}
	stored, err := encode(req.Key, req.Content, e)
	if err != nil {
		return parcel{}, err
	}
	return parcel{
		plain: req.Content, stored: stored, encoding: e,
		sha256: record.Checksum(req.Content), lines: lines,
		past: sync.OnceValues(func() ([]byte, uint64) { return pastForm(req.Content, stored, e) }),
	}, nil
}

// encode returns the content as it is stored: at most kv.MaxStored bytes of at most record.MaxPlain. The error is a
// *gate.Refusal, which names the encoding that fits, if there is one.
func encode(k kv.Key, plain []byte, e record.Encoding) ([]byte, error) {
	stored, err := record.Encode(e, plain)
	if err == nil && len(stored) <= kv.MaxStored {
		return stored, nil
	}
	r := &gate.Refusal{Reason: gate.TooLarge, Key: k, Remedy: "split the file",
		Detail: fmt.Sprintf("it has %d bytes, at most %d are allowed", len(plain), record.MaxPlain)}
	switch {
	case errors.Is(err, record.ErrTooBig):
		return nil, r
	case err != nil:
		return nil, fmt.Errorf("publish %s: %w", k, err)
	}
	r.Detail = fmt.Sprintf("it has %d bytes as %s, at most %d fit into one transaction", len(stored), e, kv.MaxStored)
	for _, other := range []struct {
		encoding record.Encoding
		flag     string
	}{{record.Zstd, "--encoding zstd"}, {record.Brotli, "-z"}} { // 1.x can read the last one
		if other.encoding == e {
			continue
		}
		if packed, err := record.Encode(other.encoding, plain); err == nil && len(packed) <= kv.MaxStored {
			r.Remedy = fmt.Sprintf("with %s it has %d bytes, and fits", other.flag, len(packed))
		}
	}
	return nil, r
}

// pastForm is how history holds content that is stored in this form, with the KV flags.
func pastForm(plain, stored []byte, e record.Encoding) ([]byte, uint64) {
	z, err := record.Pack(plain)
	if err != nil || len(z) > len(stored) {
		return stored, e.Flags()
	}
	return z, record.Zstd.Flags()
}

// plan is what one attempt writes.
type plan struct {
	manifest kv.Manifest
	began    time.Time // PublishedAt, with a monotonic reading: UTC drops it
	base     uint64    // Index of the manifest row that it replaces; 0: none
	// old puts what stands into history, if it is not there and does not fit into flip.
	old []kv.Op
	// first puts the history entry there, its manifest in the first operation,
	// when it does not fit into flip.
	first []kv.Op
	// flip makes the version live. It fails if anything that was read has
	// changed since, and so at most one of any number of competitors succeeds.
	flip []kv.Op
	// prune removes versions from history, if that does not fit into flip.
	prune []kv.Op
	note  string // for people; "": none
	// event: the first operation of flip leaves the event.
	event bool
}

func (p *Publisher) plan(req Request, load parcel, b base, at place) (plan, error) {
	k, l := req.Key, p.Layout
	nodes := 0
	if !req.DryRun {
		nodes = load.nodes()
	}
	now := p.Now()
	pl := plan{
		base: b.rows[l.Manifest(k)].Index, began: now,
		manifest: kv.Manifest{
			Format: kv.ManifestFormat, Lineage: at.lineage, Version: at.version, PublishID: kv.NewID(),
			Key: k, SHA256: load.sha256, Size: int64(len(load.plain)), Lines: load.lines,
			Encoding: string(load.encoding), PublishedAt: now.UTC(), ClockOffset: kv.ClockOffset(p.Store),
			By: gate.Author(p.By), Message: req.Message, Nodes: nodes,
		},
	}
	old, err := p.outgoing(&pl, b, at)
	if err != nil {
		return plan{}, err
	}
	manifest, err := pl.manifest.Marshal()
	if err != nil {
		return plan{}, err
	}
	pl.flip = []kv.Op{
		{Verb: kv.CheckAndSet, Path: l.Data(k), Index: b.rows[l.Data(k)].Index, Value: load.stored, Flags: load.encoding.Flags()},
		{Verb: kv.CheckAndSet, Path: l.Checksum(k), Index: b.rows[l.Checksum(k)].Index, Value: []byte(load.sha256)},
		{Verb: kv.CheckAndSet, Path: l.Manifest(k), Index: b.rows[l.Manifest(k)].Index, Value: manifest},
	}
	if !req.IgnoreStop {
		pl.flip = append(pl.flip, unchanged(l.Stop(k), b.rows[l.Stop(k)].Index))
	}
	past, flags := load.past()
	history := p.entry(k, at.version, manifest, past, flags)
	if !pl.fits(history) {
		// It is marked until the flip, with an id, for the same bytes again would change no
		// Index. A competitor's entry that comes after this check fails our flip, see
		// carryOut; one who has flipped before it fails this.
		history[2] = kv.Op{Verb: kv.Set, Path: l.HistoryPending(k, at.version), Value: []byte(pl.manifest.PublishID)}
		pl.first = append(history, unchanged(l.Manifest(k), b.rows[l.Manifest(k)].Index))
	}
	if !pl.fits(old) {
		// These checks let it take no number that a competitor has.
		old = append(old, unchanged(l.Manifest(k), b.rows[l.Manifest(k)].Index), unchanged(l.Checksum(k), b.rows[l.Checksum(k)].Index))
		if pl.old = old; bodySize(old) > kv.MaxTxnBody {
			pl.old, pl.note = nil, "the replaced content is too large for the history; `kvexpress rollback` cannot bring it back"
		}
	}
	if prune := at.outdated(pl.manifest.Previous); !pl.fits(prune) {
		pl.prune = prune
	}
	pl.leave(req, l, b.rows[l.Events(k)])
	return pl, nil
}

// leave adds the event of the request, if there is one and room for it.
func (pl *plan) leave(req Request, l kv.Layout, row kv.Entry) {
	if req.Event == nil || row.State == kv.Denied {
		return
	}
	e := *req.Event
	e.Version = pl.manifest.Version
	flip := append([]kv.Op{hold.EventOp(l.Events(e.Row()), row, e)}, pl.flip...)
	mark := kv.Op{Path: l.HistoryPending(req.Key, e.Version)} // which carryOut adds
	if pl.event = len(flip) < kv.MaxOps && bodySize(append(slices.Clip(flip), mark)) <= kv.MaxTxnBody; pl.event {
		pl.flip = flip
	}
}

// fits puts operations into the flip, if they fit.
func (pl *plan) fits(ops []kv.Op) bool {
	size := bodySize(pl.flip) + bodySize(ops)
	if pl.first != nil {
		size += bodySize(pl.first[2:3]) // what carryOut adds for its mark
	}
	if size > kv.MaxTxnBody {
		return false
	}
	pl.flip = append(pl.flip, ops...)
	return true
}

// outgoing is the history entry of what stands, if history has none: above all, of what
// kvexpress 1.x wrote. It tells the manifest which version it replaces.
func (p *Publisher) outgoing(pl *plan, b base, at place) ([]kv.Op, error) {
	m, row := &pl.manifest, b.rows[p.Layout.Manifest(pl.manifest.Key)].Value
	if b.State == record.Unmanaged {
		m.Previous = at.version - 1
	} else if b.Manifest != nil && b.Manifest.Version < at.version {
		m.Previous = b.Manifest.Version
	}
	data := b.rows[p.Layout.Data(m.Key)]
	e, _ := record.FromFlags(data.Flags) // record.Verify has read it
	switch {
	case at.enters:
		theirs := kv.Manifest{
			Format: kv.ManifestFormat, Lineage: at.lineage, Version: m.Previous, PublishID: kv.NewID(), Key: m.Key,
			SHA256: b.SHA256, Size: int64(len(b.Plain)), Lines: record.Lines(b.Plain), Encoding: string(e),
			By: "kvexpress 1.x", Message: "written by 1.x",
		}
		if b.Manifest != nil {
			theirs.Previous = b.Manifest.Version
			theirs.Message += fmt.Sprintf(" after version %d", b.Manifest.Version)
		}
		pl.note = fmt.Sprintf("the content that kvexpress 1.x wrote is kept as version %d", m.Previous)
		var err error
		if row, err = theirs.Marshal(); err != nil {
			return nil, err
		}
	case b.State != record.Managed || len(at.rows[m.Previous]) > 0:
		return nil, nil
	}
	stored := data.Value
	if e == record.Plain {
		stored = b.Plain // kvexpress 1.14 compressed it without a mark
	}
	past, flags := pastForm(b.Plain, stored, e)
	return p.entry(m.Key, m.Previous, row, past, flags), nil
}

// entry makes a version of history.
func (p *Publisher) entry(k kv.Key, version uint64, manifest, data []byte, flags uint64) []kv.Op {
	return []kv.Op{
		{Verb: kv.Set, Path: p.Layout.HistoryManifest(k, version), Value: manifest},
		{Verb: kv.Set, Path: p.Layout.HistoryData(k, version), Value: data, Flags: flags},
		{Verb: kv.Delete, Path: p.Layout.HistoryPending(k, version)},
	}
}

// outdated removes the oldest versions if there are more than keptVersions, but not the
// one that is replaced. After a restore there may be many: each publish removes a few.
func (at place) outdated(replaced uint64) []kv.Op {
	const most = 8 // rows; a version has two or three
	fresh := 1
	if at.enters {
		fresh = 2
	}
	numbers := slices.DeleteFunc(slices.Sorted(maps.Keys(at.rows)), func(n uint64) bool { return n > at.version-uint64(fresh) })
	var ops []kv.Op
	for _, n := range numbers[:max(0, len(numbers)+fresh-keptVersions)] {
		for _, path := range at.rows[n] {
			if n != replaced && len(ops) < most {
				ops = append(ops, kv.Op{Verb: kv.Delete, Path: path})
			}
		}
	}
	return ops
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
