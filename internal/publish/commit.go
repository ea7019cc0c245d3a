package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/kv"
)

// write writes the plan. A *lostError says that nothing was published, and
// that a new attempt may succeed; before is the error of the attempt before.
func (p *Publisher) write(ctx context.Context, pl *plan, before *lostError, res *Result) error {
	if pl.old != nil {
		if _, err := p.writeHistory(ctx, pl.old); err != nil {
			return err
		}
	}
	if pl.first != nil {
		guard, err := p.putHistory(ctx, pl, before)
		if err != nil {
			return err
		}
		// Without the guard, a competitor for the same version could overwrite our
		// history entry, and ours would become live all the same.
		pl.promote = append(slices.Clip(pl.promote), guard)
	}
	written, err := p.commit(ctx, AtPromote, pl.ops())
	if pl.extra != nil && errors.Is(err, kv.ErrDenied) { // perhaps only these rows are denied
		pl.extra, pl.event = nil, false
		written, err = p.commit(ctx, AtPromote, pl.ops())
	}
	switch {
	case errors.Is(err, kv.ErrConflict):
		return &lostError{cause: err}
	case errors.Is(err, kv.ErrUnknownOutcome):
		return p.resolve(ctx, pl, err, res)
	case err != nil:
		return err
	}
	return p.notify(ctx, pl, written[p.Layout.Checksum(pl.manifest.Key)])
}

// notifyLimit is how long a publish waits for AtNotify.
const notifyLimit = time.Second

// notify writes the checksum once more, if it is still ours: that changes nothing and
// wakes no watch. Versions to remove from history go along, if they had no room before.
//
// A follower of the leader receives the transaction at once. It learns that the transaction
// is committed with the next message: of the next write, or after 50 to 100 ms (CommitTimeout
// in hashicorp/raft). Until then, watches on the followers stay blocked. If this write fails,
// the version is live all the same, and to retry would be too late.
func (p *Publisher) notify(ctx context.Context, pl *plan, index uint64) error {
	if index == 0 && len(pl.prune) == 0 {
		return nil // the store does not return what it wrote, or a rollout began
	}
	if err := p.fault(AtNotify); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, notifyLimit)
	defer cancel()
	k, m := pl.manifest.Key, pl.manifest
	ops := pl.prune
	if index > 0 {
		ops = append(ops, kv.Op{Verb: kv.CheckAndSet, Path: p.Layout.Checksum(k), Value: []byte(m.SHA256), Index: index})
	}
	if _, err := p.Once.Commit(ctx, ops); err != nil {
		p.Log.InfoContext(ctx, "some nodes may get it up to 100 ms later", "key", k, "version", m.Version, "error", err)
	}
	return nil
}

// putHistory writes the history entry before AtPromote, and returns the operation that
// removes its mark, if it is still ours; for a candidate, one that checks it.
//
// If another publisher put an entry for the same version there, this attempt leaves it, and
// the next attempt replaces it. Publishers that replaced it at once would take it
// from each other in turn, and none would ever promote.
func (p *Publisher) putHistory(ctx context.Context, pl *plan, before *lostError) (kv.Op, error) {
	k := pl.manifest.Key
	path := p.Layout.HistoryManifest(k, pl.manifest.Version)
	rows, err := p.read(ctx, AtHistoryCheck, kv.Default, path)
	if err != nil {
		return kv.Op{}, err
	}
	there := rows[path]
	if there.State == kv.Denied {
		return kv.Op{}, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
	}
	if there.Index != 0 && (before == nil || before.rival != there.Index) {
		err := fmt.Errorf("%s: another publisher put it there: %w", path, kv.ErrConflict)
		return kv.Op{}, &lostError{rival: there.Index, cause: err}
	}
	first := slices.Clone(pl.first)
	first[0].Verb, first[0].Index = kv.CheckAndSet, there.Index
	written, err := p.writeHistory(ctx, first)
	if err != nil {
		return kv.Op{}, err
	}
	mark := p.Layout.HistoryPending(k, pl.manifest.Version)
	if written[mark] == 0 {
		return kv.Op{}, fmt.Errorf("write %s: %w: it does not return what it wrote", mark, kv.ErrNotStore)
	}
	if pl.row.Path != "" {
		return unchanged(mark, written[mark]), nil // a candidate keeps it until it is promoted
	}
	return kv.Op{Verb: kv.CheckAndSet, Path: mark, Index: written[mark]}, nil
}

// writeHistory writes to history before AtPromote.
func (p *Publisher) writeHistory(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	written, err := p.commit(ctx, AtHistoryWrite, ops)
	switch {
	case errors.Is(err, kv.ErrConflict):
		return nil, &lostError{cause: err}
	case errors.Is(err, kv.ErrUnknownOutcome): // written or not: no reader uses it yet
		return nil, &lostError{store: true, cause: err}
	}
	return written, err
}
