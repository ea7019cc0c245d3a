package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// ErrReadAgain is an answer of Request.Begin: time has passed, and all is read again.
var ErrReadAgain = errors.New("the store is read again")

// withdrawnContent refuses content whose rollout did not end well.
func withdrawnContent(k kv.Key, version uint64, why string) error {
	return &record.NeverLive{Key: k, Version: version, Why: "it has this content, and was withdrawn: " + why,
		Remedy: "to publish it all the same, run it again with --retry"}
}

// staged reports whether new content goes through a rollout. A version that was live before does not.
func (req Request) staged(p rollout.Policy) bool { return len(p.Stages) > 0 && !req.Now && !req.past }

// open is the rollout that has not ended; nil: there is none.
func (b base) open() *rollout.Row {
	if b.rollout == nil || b.rollout.State.Ended() {
		return nil
	}
	return b.rollout
}

// follows reports whether the open rollout has this content already, and goes on.
func (b base) follows(sha256 string) bool {
	r := b.open()
	return r != nil && r.SHA256 == sha256 && r.State.Offers()
}

// abort ends the open rollout, because its current version was published again. Only the row changes: its controller brings the
// nodes back.
func (p *Publisher) abort(ctx context.Context, req Request, b base, res *Result) error {
	k, l := b.Key, p.Layout
	res.Rollout = b.open().ID
	switch {
	case !b.open().State.Offers(): // it is being reverted already
		return nil
	case req.DryRun:
		res.Action = WouldAbort
		return nil
	}
	next, err := b.open().Abort(gate.Author(p.By) + " published the current version again")
	if err != nil {
		return err
	}
	value, err := next.Marshal()
	if err != nil {
		return err
	}
	_, err = p.commit(ctx, AtPromote, []kv.Op{
		{Verb: kv.CheckAndSet, Path: l.Rollout(k), Value: value, Index: b.rows[l.Rollout(k)].Index},
		unchanged(l.Checksum(k), b.rows[l.Checksum(k)].Index), unchanged(l.Manifest(k), b.rows[l.Manifest(k)].Index),
	})
	switch {
	case errors.Is(err, kv.ErrConflict):
		return &lostError{cause: err}
	case errors.Is(err, kv.ErrUnknownOutcome): // to read the row again tells
		return &lostError{store: true, cause: err}
	case err == nil:
		res.Action = AbortsRollout
	}
	return err
}

// begin is the row of a new rollout, and the operation that writes it.
func (p *Publisher) begin(pl *plan, req Request, b base) (kv.Op, error) {
	l, k, m := p.Layout, req.Key, pl.manifest
	version, _ := b.Version()
	row := rollout.Row{
		ID: m.PublishID, Key: k, Version: m.Version, SHA256: m.SHA256, Plan: b.policy.Plan, By: m.By, Started: pl.began.Unix(),
		State: rollout.Running,
		Base: rollout.Base{
			Version: version, SHA256: b.SHA256,
			Data: b.rows[l.Data(k)].Index, Checksum: b.rows[l.Checksum(k)].Index, Manifest: b.rows[l.Manifest(k)].Index,
		},
	}
	value, err := row.Marshal()
	if most := rollout.MaxRow - rowGrowth; err == nil && len(value) > most {
		err = fmt.Errorf("%s: the row of its rollout has %d bytes, at most %d are allowed; give its policy fewer stages or "+
			"shorter labels", k, len(value), most)
	}
	return kv.Op{Verb: kv.CheckAndSet, Path: l.Rollout(k), Value: value, Index: b.rows[l.Rollout(k)].Index}, err
}

// supersede are the operations that withdraw the candidate of the open rollout, and end it if no other takes its row.
func (p *Publisher) supersede(pl *plan, b base, at place, ends bool) (ops []kv.Op, err error) {
	k, l, row := pl.manifest.Key, p.Layout, b.rows[p.Layout.Rollout(pl.manifest.Key)]
	next := b.open()
	switch {
	case next == nil && b.rollout == nil && row.State == kv.Present: // not readable here
		return []kv.Op{unchanged(l.Rollout(k), row.Index), {Verb: kv.Delete, Path: l.Rollout(k)}}, nil
	case next == nil:
		return nil, nil
	}
	end := *next
	end.State, end.End, end.Counter = rollout.Superseded, "", end.Counter+1
	end.Reason = fmt.Sprintf("%s published version %d", pl.manifest.By, pl.manifest.Version)
	if ends {
		value, err := end.Marshal()
		if err != nil {
			return nil, err
		}
		ops = append(ops, kv.Op{Verb: kv.CheckAndSet, Path: l.Rollout(k), Value: value, Index: row.Index})
	}
	path := l.HistoryWithdrawn(k, end.Version)
	if slices.Contains(at.rows[end.Version], path) {
		return ops, nil // its failure came first
	}
	value, err := json.Marshal(rollout.Withdrawn{
		Rollout: end.ID, Reason: end.Reason, By: pl.manifest.By, Time: pl.began.Unix(), End: rollout.Superseded,
	})
	return append(ops, kv.Op{Verb: kv.Set, Path: path, Value: value}), err
}

// notWithdrawn refuses the content of a withdrawn version that history keeps.
func (p *Publisher) notWithdrawn(ctx context.Context, req Request, load parcel, b base, at place) error {
	k, l := req.Key, p.Layout
	if req.Now || req.Retry || req.past {
		return nil
	}
	if r := b.open(); r != nil && r.SHA256 == load.sha256 && !r.State.Offers() {
		return withdrawnContent(k, r.Version, r.Reason)
	}
	numbers := p.withdrawn(k, at)
	numbers = numbers[max(0, len(numbers)-keepWithdrawn):]
	if len(numbers) == 0 {
		return nil
	}
	var paths []string
	for _, n := range numbers {
		paths = append(paths, l.HistoryManifest(k, n), l.HistoryWithdrawn(k, n))
	}
	rows, err := p.read(ctx, AtHistoryRead, kv.Default, paths...)
	if err != nil {
		return err
	}
	for _, n := range slices.Backward(numbers) {
		m, err := record.ParseManifest(k, rows[l.HistoryManifest(k, n)].Value)
		why := rollout.ParseWithdrawn(rows[l.HistoryWithdrawn(k, n)])
		if err == nil && m.SHA256 == load.sha256 && why != nil && why.End != rollout.Superseded {
			return withdrawnContent(k, n, why.Reason)
		}
	}
	return nil
}

// withdrawn are the numbers of withdrawn versions, in order.
func (p *Publisher) withdrawn(k kv.Key, at place) (numbers []uint64) {
	for n, rows := range at.rows {
		if slices.Contains(rows, p.Layout.HistoryWithdrawn(k, n)) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// fateOfRollout searches the store for the rollout of the plan.
func (p *Publisher) fateOfRollout(ctx context.Context, pl *plan) (fate, string, error) {
	k, n := pl.manifest.Key, pl.manifest.Version
	row, path, why := p.Layout.Rollout(k), p.Layout.HistoryManifest(k, n), p.Layout.HistoryWithdrawn(k, n)
	live := p.Layout.Manifest(k)
	rows, err := p.read(ctx, AtResolve, kv.Consistent, row, path, why, live)
	if err != nil {
		return 0, "", err
	}
	for _, path := range []string{row, path, why, live} {
		if rows[path].State == kv.Denied {
			return 0, "", fmt.Errorf("read %s: %w", path, kv.ErrDenied)
		}
	}
	now, err := rollout.ParseRow(k, rows[row])
	m, manifestErr := kv.ParseManifest(rows[path].Value)
	switch {
	case err == nil && now != nil && now.ID == pl.manifest.PublishID:
		return applied, "", nil
	case manifestErr == nil && m.PublishID == pl.manifest.PublishID && rows[why].State == kv.Present:
		return applied, fmt.Sprintf("version %d was a candidate, and another publisher superseded it since", n), nil
	case rows[row].Index == pl.row.Index && rows[live].Index == pl.base:
		return pending, "", nil
	}
	return beaten, "", nil
}
