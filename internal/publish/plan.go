package publish

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

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

func (p *Publisher) plan(ctx context.Context, req Request, load parcel, b base, at place) (*plan, error) {
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
	replaced, err := p.outgoing(pl, b, at)
	if err != nil {
		return nil, err
	}
	manifest, err := pl.manifest.Marshal()
	if err != nil {
		return nil, err
	}
	data := kv.Entry{Value: load.stored, Flags: load.encoding.Flags()}
	pl.promote = p.replace(k, b.rows, data, load.sha256, manifest)
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
	if !pl.fits(replaced) {
		// These checks let it take no number that a competitor has.
		for _, path := range []string{l.Manifest(k), l.Checksum(k)} {
			replaced = append(replaced, unchanged(path, b.rows[path].Index))
		}
		if pl.old = replaced; bodySize(replaced) > kv.MaxTxnBody {
			pl.old, pl.note = nil, "the replaced content is too large for the history; `kvexpress rollback` cannot bring it back"
		}
	}
	old, err := p.outdated(ctx, k, at, b.policy.History, len(past))
	if err != nil {
		return nil, err
	}
	if prune := at.prune(old, pl.manifest.Previous); !pl.fits(prune) {
		pl.prune = prune
	}
	if index := b.rows[l.Policy(k)].Index; index > 0 { // to check that there is none takes the right to write it
		pl.fits([]kv.Op{unchanged(l.Policy(k), index)})
	}
	pl.leave(req.Event, l, b.rows[l.Events(k)])
	return pl, nil
}

// leave adds the event, if there is one and it fits.
func (pl *plan) leave(event *hold.Event, l kv.Layout, row kv.Entry) {
	if event == nil || row.State == kv.Denied {
		return
	}
	e := *event
	e.Version = pl.manifest.Version
	promote := append([]kv.Op{hold.EventOp(l.Events(e.Row()), row, e)}, pl.promote...)
	mark := kv.Op{Path: l.HistoryPending(pl.manifest.Key, e.Version)} // which write adds
	if pl.event = len(promote) < kv.MaxOps && bodySize(append(slices.Clip(promote), mark)) <= kv.MaxTxnBody; pl.event {
		pl.promote = promote
	}
}

// leaveAfter leaves the event if the plan did not, and returns why it is lost.
func (p *Publisher) leaveAfter(ctx context.Context, pl *plan, event *hold.Event) (lost error) {
	if event == nil || pl.event {
		return nil
	}
	e := *event
	e.Version = pl.manifest.Version
	r := hold.Recorder{Store: p.Store, Layout: p.Layout, Lost: func(err error) { lost = err }}
	return cmp.Or(r.Leave(ctx, e), lost)
}

// replace writes the live rows, if they still are as in was.
func (p *Publisher) replace(k kv.Key, was kv.Snapshot, data kv.Entry, sha256 string, manifest []byte) []kv.Op {
	l := p.Layout
	return slices.Concat(
		overwrite(l.Data(k), was[l.Data(k)], data.Value, data.Flags),
		overwrite(l.Checksum(k), was[l.Checksum(k)], []byte(sha256), 0),
		overwrite(l.Manifest(k), was[l.Manifest(k)], manifest, 0),
	)
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

// maxPruned is how many rows of history a publish removes; a version has two or three. After a restore there may be many to
// remove: each publish removes a few.
const maxPruned = 8

// outdated are the oldest versions that the policy does not keep, some of them, if each has so many bytes.
func (p *Publisher) outdated(ctx context.Context, k kv.Key, at place, h rollout.History, size int) ([]uint64, error) {
	fresh := 1
	if at.enters {
		fresh = 2
	}
	numbers := slices.DeleteFunc(slices.Sorted(maps.Keys(at.rows)), func(n uint64) bool { return n > at.version-uint64(fresh) })
	all := len(numbers) + fresh
	numbers = numbers[:min(max(0, all-h.Keep(size)), maxPruned)]
	if h.Days == 0 || len(numbers) == 0 {
		return numbers, nil
	}
	var paths []string
	for _, n := range numbers {
		paths = append(paths, p.Layout.HistoryManifest(k, n))
	}
	rows, err := p.read(ctx, AtHistoryRead, kv.Default, paths...)
	if err != nil {
		return nil, err
	}
	for i, path := range paths {
		m, err := record.ParseManifest(k, rows[path].Value)
		if rows[path].State == kv.Denied || err == nil && h.Young(m.PublishedAt, p.Now(), all-1-i, size) {
			return numbers[:i], nil
		}
	}
	return numbers, nil
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
