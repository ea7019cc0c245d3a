package publish

import (
	"context"
	"errors"
	"fmt"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
)

// resolve finds out whether a promotion of unknown outcome was applied. If the live manifest
// has not changed since, it sends the transaction again, with the same publish id:
// its checks let it be applied once at most.
func (p *Publisher) resolve(ctx context.Context, pl *plan, cause error, res *Result) error {
	p.Log.WarnContext(ctx, "the outcome of a write is unknown, reading it from the store", "key", pl.manifest.Key,
		"version", pl.manifest.Version, "publish_id", pl.manifest.PublishID, "error", cause)
	deadline, backoff := p.Now().Add(p.ResolveFor), wait.Backoff{Least: retryLeast, Most: retryMost}
	refused := false // the transaction that was sent again
	for n := 1; ; n++ {
		fate, note, err := p.fate(ctx, pl)
		switch {
		case errors.Is(err, kv.ErrUnreachable):
			cause = err
		case err != nil:
			return p.unknown(pl, err)
		case fate == applied:
			res.Resolved = true
			res.note(note)
			return nil
		case fate == beaten, fate == pending && refused:
			return &lostError{cause: cause}
		case fate == untraceable:
			return p.unknown(pl, fmt.Errorf("%s: %w", note, cause))
		case fate == pending:
			_, err := p.commit(ctx, AtPromoteAgain, pl.ops())
			switch {
			case err == nil:
				res.Resolved = true
				return nil
			case errors.Is(err, kv.ErrConflict):
				refused = true // or the first one was applied just now: read again
				continue
			case !errors.Is(err, kv.ErrUnknownOutcome) && !errors.Is(err, kv.ErrUnreachable):
				return p.unknown(pl, err)
			}
			cause = err
		}
		if !p.Now().Before(deadline) {
			return p.unknown(pl, fmt.Errorf("not found out within %v: %w", p.ResolveFor, cause))
		}
		if err := p.Wait(ctx, backoff.After(n+1)); err != nil {
			return p.unknown(pl, err)
		}
	}
}

// fate is the outcome of a promotion.
type fate int

const (
	pending     fate = iota + 1 // not applied so far, and it still may be
	applied                     // it may have been superseded since
	beaten                      // not applied, and it cannot be any more
	untraceable                 // history no longer has it
)

// fate searches the store for the publish id of the plan. It returns a note for people.
func (p *Publisher) fate(ctx context.Context, pl *plan) (fate, string, error) {
	if pl.row.Path != "" {
		return p.fateOfRollout(ctx, pl)
	}
	k, ours := pl.manifest.Key, pl.manifest
	l, livePath := p.Layout, p.Layout.Manifest(k)
	pastPath, mark := l.HistoryManifest(k, ours.Version), l.HistoryPending(k, ours.Version)
	rows, err := p.read(ctx, AtResolve, kv.Consistent, livePath, pastPath, mark)
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
		return applied, "", nil
	case kept && newer:
		return applied, fmt.Sprintf("version %d was published, and superseded by version %d since", ours.Version, now.Version), nil
	case kept:
		return applied, fmt.Sprintf("version %d was published, and its manifest was replaced or removed since", ours.Version), nil
	case rows[livePath].Index == pl.base:
		return pending, "", nil
	case newer && now.Version >= ours.Version+rollout.MinVersions:
		return untraceable, fmt.Sprintf("version %d is live, and history no longer has version %d", now.Version, ours.Version), nil
	}
	return beaten, "", nil
}

// unknown is the error for a promotion whose fate was not found out.
func (p *Publisher) unknown(pl *plan, cause error) error {
	m := pl.manifest
	paths := []string{p.Layout.Manifest(m.Key), p.Layout.HistoryManifest(m.Key, m.Version)}
	if pl.row.Path != "" {
		paths = []string{pl.row.Path}
	}
	return &UnknownError{Version: m.Version, PublishID: m.PublishID, Cause: cause, Paths: paths}
}
