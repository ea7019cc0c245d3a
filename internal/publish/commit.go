package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/kv"
)

// finding is what is told about a publish that succeeded in the end.
type finding struct {
	resolved bool
	event    bool
	note     string
}

// carryOut writes the plan. A *lostError says that nothing was published, and
// that a new attempt may do better; before is that of the attempt before.
func (p *Publisher) carryOut(ctx context.Context, pl plan, before *lostError) (found finding, err error) {
	defer func() { found.event = pl.event }()
	if pl.old != nil {
		if _, err := p.ahead(ctx, pl.old); err != nil {
			return finding{}, err
		}
	}
	if pl.first != nil {
		guard, err := p.putHistory(ctx, pl, before)
		if err != nil {
			return finding{}, err
		}
		// Without this a competitor for the same version could overwrite our
		// history entry with his, and we would flip all the same.
		pl.flip = append(slices.Clip(pl.flip), guard)
	}
	written, err := p.commit(ctx, StepFlip, pl.flip)
	if pl.event && errors.Is(err, kv.ErrDenied) { // that may be the right to the event alone
		pl.flip, pl.event = pl.flip[1:], false
		written, err = p.commit(ctx, StepFlip, pl.flip)
	}
	switch {
	case errors.Is(err, kv.ErrConflict):
		return finding{}, &lostError{cause: err}
	case errors.Is(err, kv.ErrUnknownOutcome):
		return p.resolve(ctx, pl, err)
	case err != nil:
		return finding{}, err
	}
	return finding{}, p.hurry(ctx, pl, written[p.Layout.Checksum(pl.manifest.Key)])
}

// hurryLimit is how long a publish waits for the write that follows it.
const hurryLimit = time.Second

// hurry writes the checksum once more, if it is still ours, which changes nothing and
// wakes nobody. What had no room in the flip goes along: versions to remove from history.
//
// A follower of the leader hears of the flip at once, but that it is committed it is told
// only with the next message: of the next write, or after 50 to 100 ms (CommitTimeout in
// hashicorp/raft). For that long the watches that followers answer would sleep on. What
// becomes of this write is of no matter: the version is published, and to try it again
// would come too late for it.
func (p *Publisher) hurry(ctx context.Context, pl plan, index uint64) error {
	if index == 0 {
		return nil // the store does not tell what it wrote
	}
	if err := p.step(StepHurry); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hurryLimit)
	defer cancel()
	k, m := pl.manifest.Key, pl.manifest
	same := kv.Op{Verb: kv.CheckAndSet, Path: p.Layout.Checksum(k), Value: []byte(m.SHA256), Index: index}
	if _, err := p.Once.Commit(ctx, append(pl.prune, same)); err != nil {
		p.Log.InfoContext(ctx, "some nodes may hear of it a moment later", "key", k, "version", m.Version, "error", err)
	}
	return nil
}

// putHistory writes the history entry ahead of the flip, and returns the operation that
// takes its mark away, if it is still ours.
//
// An entry of another publisher for the same version is left to him for one
// attempt, and replaced if it still stands then. Publishers who replaced it at
// once would take it from each other in turn, and none would ever flip.
func (p *Publisher) putHistory(ctx context.Context, pl plan, before *lostError) (kv.Op, error) {
	k := pl.manifest.Key
	path := p.Layout.HistoryManifest(k, pl.manifest.Version)
	rows, err := p.read(ctx, StepHistoryLook, kv.Default, path)
	if err != nil {
		return kv.Op{}, err
	}
	there := rows[path]
	if there.State == kv.Denied {
		return kv.Op{}, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
	}
	if there.Index != 0 && (before == nil || before.rival != there.Index) {
		return kv.Op{},
			&lostError{rival: there.Index, cause: fmt.Errorf("%s: another publisher has put it there: %w", path, kv.ErrConflict)}
	}
	first := slices.Clone(pl.first)
	first[0].Verb, first[0].Index = kv.CheckAndSet, there.Index
	written, err := p.ahead(ctx, first)
	if err != nil {
		return kv.Op{}, err
	}
	mark := p.Layout.HistoryPending(k, pl.manifest.Version)
	if written[mark] == 0 {
		return kv.Op{}, fmt.Errorf("write %s: %w: it does not tell what it wrote", mark, kv.ErrNotStore)
	}
	return kv.Op{Verb: kv.CheckAndSet, Path: mark, Index: written[mark]}, nil
}

// ahead writes to history before the flip.
func (p *Publisher) ahead(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	written, err := p.commit(ctx, StepHistoryWrite, ops)
	switch {
	case errors.Is(err, kv.ErrConflict):
		return nil, &lostError{cause: err}
	case errors.Is(err, kv.ErrUnknownOutcome):
		// Written or not, nobody looks at it yet.
		return nil, &lostError{store: true, cause: err}
	}
	return written, err
}

// resolve finds out whether a flip of unknown outcome was applied. Where
// nothing has moved since, it sends the flip again, with the same publish id:
// its checks let it be applied once at most.
func (p *Publisher) resolve(ctx context.Context, pl plan, cause error) (finding, error) {
	p.Log.WarnContext(ctx, "the outcome of a write is unknown, asking the store", "key", pl.manifest.Key,
		"version", pl.manifest.Version, "publish_id", pl.manifest.PublishID, "error", cause)
	deadline := p.Now().Add(p.ResolveFor)
	refused := false // the flip that was sent again
	for n := 1; ; n++ {
		fate, note, err := p.ask(ctx, pl)
		switch {
		case errors.Is(err, kv.ErrUnreachable):
			cause = err
		case err != nil:
			return finding{}, p.unknown(pl, err)
		case fate == live:
			return finding{resolved: true, note: note}, nil
		case fate == beaten, fate == pending && refused:
			return finding{}, &lostError{cause: cause}
		case fate == obscure:
			return finding{}, p.unknown(pl, fmt.Errorf("%s: %w", note, cause))
		case fate == pending:
			_, err := p.commit(ctx, StepFlipAgain, pl.flip)
			switch {
			case err == nil:
				return finding{resolved: true}, nil
			case errors.Is(err, kv.ErrConflict):
				refused = true // or the first one has been applied just now: ask
				continue
			case !errors.Is(err, kv.ErrUnknownOutcome) && !errors.Is(err, kv.ErrUnreachable):
				return finding{}, p.unknown(pl, err)
			}
			cause = err
		}
		if !p.Now().Before(deadline) {
			return finding{}, p.unknown(pl, fmt.Errorf("asked for %v: %w", p.ResolveFor, cause))
		}
		if err := p.Wait(ctx, backoff(n+2)); err != nil {
			return finding{}, p.unknown(pl, err)
		}
	}
}

// fate is what became of a flip.
type fate int

const (
	pending fate = iota + 1 // not applied so far, and it still may be
	live                    // applied; it may have been superseded since
	beaten                  // not applied, and it cannot be any more
	obscure                 // the traces are gone
)

// ask looks for the publish id of the plan, with a note for people.
func (p *Publisher) ask(ctx context.Context, pl plan) (fate, string, error) {
	k, ours := pl.manifest.Key, pl.manifest
	l, livePath := p.Layout, p.Layout.Manifest(k)
	pastPath, mark := l.HistoryManifest(k, ours.Version), l.HistoryPending(k, ours.Version)
	rows, err := p.read(ctx, StepResolve, kv.Consistent, livePath, pastPath, mark)
	if err != nil {
		return 0, "", err
	}
	for _, path := range []string{livePath, pastPath, mark} {
		if rows[path].State == kv.Denied {
			return 0, "", fmt.Errorf("read %s: %w", path, kv.ErrDenied)
		}
	}
	now, nowErr := kv.ParseManifest(rows[livePath].Value)
	past, pastErr := kv.ParseManifest(rows[pastPath].Value)
	kept := pastErr == nil && past.PublishID == ours.PublishID && len(rows[mark].Value) == 0
	newer := nowErr == nil && now.Lineage == ours.Lineage && now.Version > ours.Version
	switch {
	case nowErr == nil && now.PublishID == ours.PublishID:
		return live, "", nil
	case kept && newer:
		return live, fmt.Sprintf("version %d was published, and superseded by version %d since", ours.Version, now.Version), nil
	case kept:
		return live, fmt.Sprintf("version %d was published, and its manifest was replaced or removed since", ours.Version), nil
	case rows[livePath].Index == pl.base:
		return pending, "", nil
	case newer && now.Version >= ours.Version+keptVersions:
		return obscure, fmt.Sprintf("version %d stands by now, and the history of version %d is pruned", now.Version, ours.Version), nil
	}
	return beaten, "", nil
}

// unknown is the error for a flip whose fate was not found out.
func (p *Publisher) unknown(pl plan, cause error) error {
	m := pl.manifest
	return &UnknownError{
		Version: m.Version, PublishID: m.PublishID, Cause: cause,
		Paths: []string{p.Layout.Manifest(m.Key), p.Layout.HistoryManifest(m.Key, m.Version)},
	}
}
