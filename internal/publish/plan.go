package publish

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// keptVersions is how many versions a key's history has, with the live one.
const keptVersions = 10

// plan is what one attempt writes.
type plan struct {
	manifest kv.Manifest
	began    time.Time // PublishedAt, with a monotonic reading: UTC drops it
	base     uint64    // Index of the manifest row that it replaces; 0: none
	// old puts the live version into history, if history does not have it and it does not fit into promote.
	old []kv.Op
	// first writes the history entry, its manifest in the first operation, if it does not fit
	// into promote.
	first []kv.Op
	// promote makes the version live. It fails if anything that was read has
	// changed since, and so at most one of any number of competitors succeeds.
	promote []kv.Op
	// prune removes versions from history, if that does not fit into promote.
	prune []kv.Op
	note  string // for people; "": none
	// event: the first operation of promote leaves the event.
	event bool
}

func (p *Publisher) plan(req Request, load parcel, b base, at place) (*plan, error) {
	k, l := req.Key, p.Layout
	now := p.Now()
	pl := &plan{
		base: b.rows[l.Manifest(k)].Index, began: now,
		manifest: kv.Manifest{
			Format: kv.ManifestFormat, Lineage: at.lineage, Version: at.version, PublishID: kv.NewID(),
			Key: k, SHA256: load.sha256, Size: int64(len(load.plain)), Lines: load.lines,
			Encoding: string(load.encoding), PublishedAt: now.UTC(), ClockOffset: kv.ClockOffset(p.Store),
			By: gate.Author(p.By), Message: req.Message,
		},
	}
	old, err := p.outgoing(pl, b, at)
	if err != nil {
		return nil, err
	}
	manifest, err := pl.manifest.Marshal()
	if err != nil {
		return nil, err
	}
	pl.promote = slices.Concat(
		overwrite(l.Data(k), b.rows[l.Data(k)], load.stored, load.encoding.Flags()),
		overwrite(l.Checksum(k), b.rows[l.Checksum(k)], []byte(load.sha256), 0),
		overwrite(l.Manifest(k), b.rows[l.Manifest(k)], manifest, 0),
	)
	if !req.IgnoreStop {
		pl.promote = append(pl.promote, unchanged(l.Stop(k), b.rows[l.Stop(k)].Index))
	}
	past, flags := load.past()
	history := p.entry(k, at.version, manifest, past, flags)
	if !pl.fits(history) {
		// The mark is an id, because the same bytes again would change no Index. A competitor's
		// entry that comes after this check fails our promotion (see write); one that was
		// promoted before fails this.
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

// leave adds the event of the request, if it fits.
func (pl *plan) leave(req Request, l kv.Layout, row kv.Entry) {
	if req.Event == nil || row.State == kv.Denied {
		return
	}
	e := *req.Event
	e.Version = pl.manifest.Version
	promote := append([]kv.Op{hold.EventOp(l.Events(e.Row()), row, e)}, pl.promote...)
	mark := kv.Op{Path: l.HistoryPending(req.Key, e.Version)} // which write adds
	if pl.event = len(promote) < kv.MaxOps && bodySize(append(slices.Clip(promote), mark)) <= kv.MaxTxnBody; pl.event {
		pl.promote = promote
	}
}

// fits puts operations into the promote, if they fit.
func (pl *plan) fits(ops []kv.Op) bool {
	size := bodySize(pl.promote) + bodySize(ops)
	if pl.first != nil {
		size += bodySize(pl.first[2:3]) // what write adds for its mark
	}
	if size > kv.MaxTxnBody {
		return false
	}
	pl.promote = append(pl.promote, ops...)
	return true
}

// outgoing is the history entry of the live version, if history has none: such as one that
// kvexpress 1.x wrote. It sets Previous in the manifest.
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

// overwrite writes a row that still is as it was read. The same value again changes no Index and wakes no watch: so a row that
// is whole, of a version that is healed, is removed first.
func overwrite(path string, row kv.Entry, value []byte, flags uint64) []kv.Op {
	if row.State != kv.Present || row.Flags != flags || !bytes.Equal(row.Value, value) {
		return []kv.Op{{Verb: kv.CheckAndSet, Path: path, Index: row.Index, Value: value, Flags: flags}}
	}
	return []kv.Op{unchanged(path, row.Index), {Verb: kv.Delete, Path: path}, {Verb: kv.Set, Path: path, Value: value, Flags: flags}}
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
