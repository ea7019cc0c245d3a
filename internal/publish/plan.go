package publish

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
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
	// extra goes along with promote: the event, and the end of an open rollout. If the token may not write it, it is left out:
	// then the event comes later, and the controller of the rollout notices that the key has another version.
	extra []kv.Op
	event bool // extra has the event
	// row of promote begins a rollout: the version is a candidate. Path "": the version becomes the current one.
	row kv.Op
}

// ops is the transaction.
func (pl *plan) ops() []kv.Op { return slices.Concat(pl.extra, pl.promote) }

func (p *Publisher) plan(ctx context.Context, req Request, load parcel, b base, at place) (*plan, error) {
	k, l := req.Key, p.Layout
	now := p.Now()
	pl := &plan{
		base: b.rows[l.Manifest(k)].Index, began: now,
		manifest: kv.Manifest{
			Format: kv.ManifestFormat, Lineage: at.lineage, Version: at.version, PublishID: kv.NewID(),
			Key: k, SHA256: load.sha256, Size: int64(len(load.plain)), Lines: load.lines,
			Encoding: string(load.encoding), PublishedAt: now.UTC(), ClockOffset: kv.ClockOffset(p.Store),
			By: gate.Author(p.By), Message: req.Message, Previous: at.previous,
			Now: req.Now && (len(b.policy.Stages) > 0 || b.open() != nil),
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
	if staged := req.staged(b.policy) && b.Decide(load.sha256) == record.Replace; staged {
		err = p.planCandidate(pl, req, load, b, at, manifest)
	} else {
		err = p.planCurrent(pl, req, load, b, at, manifest)
	}
	if err != nil {
		return nil, err
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
	old, err := p.outdated(ctx, pl, b, at, load)
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

// planCurrent makes the version the current one.
func (p *Publisher) planCurrent(pl *plan, req Request, load parcel, b base, at place, manifest []byte) (err error) {
	k, l := req.Key, p.Layout
	if pl.extra, err = p.supersede(pl, b, at, true); err != nil {
		return err
	}
	pl.promote = p.replace(k, b.rows, kv.Entry{Value: load.stored, Flags: load.encoding.Flags()}, load.sha256, manifest)
	if !req.IgnoreStop {
		pl.promote = append(pl.promote, unchanged(l.Stop(k), b.rows[l.Stop(k)].Index))
	}
	past, flags := load.past()
	// The mark fails the transaction if the candidate of a rollout took the number meanwhile.
	entry := append(p.entry(k, at.version, manifest, past, flags), unchanged(l.HistoryPending(k, at.version), at.mark))
	if at.mark > 0 {
		entry = append(entry, kv.Op{Verb: kv.Delete, Path: l.HistoryPending(k, at.version)})
	}
	if !pl.fits(entry) {
		// A competitor's entry that comes after this check fails our promotion (see write); one that was
		// promoted before fails this.
		pl.first = append(p.marked(pl, entry), unchanged(l.Manifest(k), b.rows[l.Manifest(k)].Index))
	}
	return nil
}

// planCandidate begins a rollout. The live rows stay as they are, and must be as they were read.
func (p *Publisher) planCandidate(pl *plan, req Request, load parcel, b base, at place, manifest []byte) (err error) {
	k, l := req.Key, p.Layout
	if pl.row, err = p.begin(pl, req, b); err != nil {
		return err
	}
	withdraw, err := p.supersede(pl, b, at, false)
	if err != nil {
		return err
	}
	if err := p.promotable(pl, load, manifest); err != nil {
		return err
	}
	pl.promote = append(withdraw, pl.row)
	for _, path := range []string{l.Data(k), l.Checksum(k), l.Manifest(k)} {
		pl.promote = append(pl.promote, unchanged(path, b.rows[path].Index))
	}
	if !req.IgnoreStop {
		pl.promote = append(pl.promote, unchanged(l.Stop(k), b.rows[l.Stop(k)].Index))
	}
	entry := p.marked(pl, p.entry(k, at.version, manifest, load.stored, load.encoding.Flags()))
	if !pl.fits(entry) {
		pl.first = append(entry, unchanged(l.Manifest(k), b.rows[l.Manifest(k)].Index))
	}
	return nil
}

// rowGrowth is how many bytes a row gets until its promotion: a controller, a threshold, counts, a reason.
const rowGrowth = rollout.MaxWhy + 256

// promotable refuses a candidate whose promotion would not fit into one transaction.
func (p *Publisher) promotable(pl *plan, load parcel, manifest []byte) error {
	k, l := pl.manifest.Key, p.Layout
	ops := p.replace(k, nil, kv.Entry{Value: load.stored}, load.sha256, manifest)
	for _, path := range []string{l.Stop(k), l.HistoryPending(k, pl.manifest.Version), l.HistoryPending(k, pl.manifest.Version)} {
		ops = append(ops, kv.Op{Path: path})
	}
	if bodySize(append(ops, pl.row))+rowGrowth*4/3 <= kv.MaxTxnBody {
		return nil
	}
	return &gate.Refusal{
		Reason: gate.TooLarge, Key: k, Remedy: "compress it with -z, split it, or give its policy fewer stages",
		Detail: fmt.Sprintf("it has %d bytes as %s, and does not fit into one transaction with its rollout", len(load.stored),
			load.encoding),
	}
}

// marked is an entry of history with the mark that it is not live. The mark is an id, because the same bytes again would change
// no Index.
func (p *Publisher) marked(pl *plan, entry []kv.Op) []kv.Op {
	m := pl.manifest
	mark := kv.Op{Verb: kv.Set, Path: p.Layout.HistoryPending(m.Key, m.Version), Value: []byte(m.PublishID)}
	return append(slices.Clip(entry[:2]), mark)
}

// leave adds the event, if there is one and it fits.
func (pl *plan) leave(event *hold.Event, l kv.Layout, row kv.Entry) {
	if event == nil || row.State == kv.Denied {
		return
	}
	e := *event
	e.Version = pl.manifest.Version
	extra := append(slices.Clip(pl.extra), hold.EventOp(l.Events(e.Row()), row, e))
	mark := kv.Op{Path: l.HistoryPending(pl.manifest.Key, e.Version)} // which write adds
	all := slices.Concat(extra, pl.promote, []kv.Op{mark})
	if pl.event = len(all) <= kv.MaxOps && bodySize(all) <= kv.MaxTxnBody; pl.event {
		pl.extra = extra
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
	size := bodySize(pl.extra) + bodySize(pl.promote) + bodySize(ops)
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
// kvexpress 1.x wrote.
func (p *Publisher) outgoing(pl *plan, b base, at place) ([]kv.Op, error) {
	m, row := &pl.manifest, b.rows[p.Layout.Manifest(pl.manifest.Key)].Value
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
	entry := p.entry(m.Key, m.Previous, row, past, flags)
	return append(entry, kv.Op{Verb: kv.Delete, Path: p.Layout.HistoryPending(m.Key, m.Previous)}), nil
}

// entry makes a version of history. What becomes of its mark is another operation.
func (p *Publisher) entry(k kv.Key, version uint64, manifest, data []byte, flags uint64) []kv.Op {
	return []kv.Op{
		{Verb: kv.Set, Path: p.Layout.HistoryManifest(k, version), Value: manifest},
		{Verb: kv.Set, Path: p.Layout.HistoryData(k, version), Value: data, Flags: flags},
	}
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
