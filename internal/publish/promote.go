package publish

import (
	"context"
	"fmt"

	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// Promotion is the end of a rollout that went well.
type Promotion struct {
	Row   rollout.Row // as it was read
	Index uint64      // of the row in the store
	Next  rollout.Row // what the row becomes
	// Event is written with it: in the same transaction if rights and room allow, else right after it. nil: none.
	Event *hold.Event
}

// Promote makes the candidate of a rollout the current version, in one transaction with the row: data and manifest exactly as
// they are in history. It wraps kv.ErrConflict, and changes nothing, if the row, the current version or the stop changed, and
// does not try again: the caller decides anew. Other errors are *gate.Stopped, a *gate.Refusal for a damaged candidate, and
// those of the store. EventLost is why the event is not in the store; nil: it is, or there is none.
func (p *Publisher) Promote(ctx context.Context, pr Promotion) (eventLost, err error) {
	p = p.withDefaults()
	pl, err := p.promotion(ctx, pr)
	if err != nil {
		return nil, err
	}
	if err := p.write(ctx, pl, nil, &Result{}); err != nil {
		if lost := asLost(err); lost != nil {
			err = lost.cause
		}
		return nil, fmt.Errorf("promote version %d of %s: %w", pr.Row.Version, pr.Row.Key, err)
	}
	return p.leaveAfter(ctx, pl, pr.Event), nil
}

func (p *Publisher) promotion(ctx context.Context, pr Promotion) (*plan, error) {
	row, l := pr.Row, p.Layout
	k, n := row.Key, row.Version
	mark, stop := l.HistoryPending(k, n), l.Stop(k)
	rows, err := p.read(ctx, AtRead, kv.Default, l.HistoryManifest(k, n), l.HistoryData(k, n), mark, stop, l.Events(k))
	if err != nil {
		return nil, err
	}
	for _, path := range []string{l.HistoryManifest(k, n), l.HistoryData(k, n), mark, stop} {
		if rows[path].State == kv.Denied {
			return nil, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
		}
	}
	if err := gate.NotStopped(k, rows[stop]); err != nil {
		return nil, err
	}
	manifest, data := rows[l.HistoryManifest(k, n)], rows[l.HistoryData(k, n)]
	m, err := candidate(row, manifest, data, rows[mark])
	if err != nil {
		return nil, err
	}
	next, err := pr.Next.Marshal()
	if err != nil {
		return nil, err
	}
	live := kv.Snapshot{
		l.Data(k): {Index: row.Base.Data}, l.Checksum(k): {Index: row.Base.Checksum}, l.Manifest(k): {Index: row.Base.Manifest},
	}
	pl := &plan{manifest: m, base: row.Base.Manifest, began: p.Now()}
	pl.promote = append(p.replace(k, live, data, m.SHA256, manifest.Value),
		unchanged(stop, rows[stop].Index),
		kv.Op{Verb: kv.CheckAndSet, Path: l.Rollout(k), Index: pr.Index, Value: next},
		unchanged(mark, rows[mark].Index), // no other publisher took the number
		kv.Op{Verb: kv.Delete, Path: mark},
	)
	pl.leave(pr.Event, l, rows[l.Events(k)])
	return pl, nil
}

// candidate verifies the entry of a candidate in history.
func candidate(row rollout.Row, manifest, data, mark kv.Entry) (kv.Manifest, error) {
	damaged := func(why error) error {
		return &gate.Refusal{
			Reason: gate.Corrupt, Key: row.Key, Err: why, Detail: fmt.Sprintf("its candidate, version %d, is damaged", row.Version),
			Remedy: fmt.Sprintf("end its rollout with `kvexpress rollout abort -k %s`, then publish it again", row.Key),
		}
	}
	m, err := record.ParseManifest(row.Key, manifest.Value)
	switch {
	case err != nil:
		return m, damaged(err)
	case m.Version != row.Version || m.SHA256 != row.SHA256:
		return m, damaged(fmt.Errorf("its manifest is of version %d", m.Version))
	case len(mark.Value) == 0 || string(mark.Value) != m.PublishID:
		return m, damaged(fmt.Errorf("another publisher wrote version %d", m.Version))
	}
	e, err := record.FromFlags(data.Flags)
	if err != nil {
		return m, damaged(err)
	}
	plain, err := record.DecodeUpTo(e, data.Value, record.SizeLimit(&m, m.SHA256, e))
	if err == nil && record.Checksum(plain) != row.SHA256 {
		err = fmt.Errorf("its data does not match its manifest")
	}
	if err != nil {
		return m, damaged(err)
	}
	return m, nil
}
