package publish

import (
	"context"
	"fmt"
	"slices"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// Remains are the rows of a key in the store.
type Remains struct {
	live, past []string
}

// None reports whether there is nothing.
func (r Remains) None() bool { return len(r.live)+len(r.past) == 0 }

// Left lists the rows of a key. Before, a transaction that writes nothing proves that the
// token can remove them, and write receipts. A key with an open rollout is refused.
func Left(ctx context.Context, s kv.Store, l kv.Layout, k kv.Key) (r Remains, err error) {
	var probes []kv.Op
	for _, dir := range []string{l.Dir(k), l.HistoryDir(k), l.NodesDir()} {
		probes = append(probes, kv.Op{Verb: kv.CheckAbsent, Path: dir + ".probe"})
	}
	if _, err := s.Commit(ctx, probes); err != nil {
		return r, err
	}
	if r.live, err = s.Keys(ctx, l.Dir(k)); err != nil {
		return r, err
	}
	own := l.Rows(k)
	r.live = slices.DeleteFunc(r.live, func(path string) bool { return !slices.Contains(own, path) })
	rows, err := s.Read(ctx, kv.Default, l.Rollout(k))
	if err != nil {
		return r, err
	}
	if row := rows[l.Rollout(k)]; row.State == kv.Present {
		if open, err := rollout.ParseRow(k, row); err == nil && !open.State.Ended() {
			return r, fmt.Errorf("%s: version %d is being rolled out; first end that with `kvexpress rollout abort -k %[1]s`", k,
				open.Version)
		}
		r.live = append(r.live, l.Rollout(k))
	}
	r.past, err = s.Keys(ctx, l.HistoryDir(k))
	r.past = slices.DeleteFunc(r.past, func(path string) bool {
		_, _, ok := l.HistoryVersion(k, path)
		return !ok
	})
	return r, err
}

// Retire removes a key, with an event: first all live rows at once, then history in
// transactions of bounded size. After a crash it can be repeated.
func Retire(ctx context.Context, r hold.Recorder, e hold.Event, left Remains) error {
	rows := r.Layout.Rows(e.Key)
	if policy := r.Layout.Policy(e.Key); !slices.Contains(left.live, policy) {
		rows = slices.DeleteFunc(rows, func(path string) bool { return path == policy }) // a publisher may not write it
	}
	if path := r.Layout.Rollout(e.Key); slices.Contains(left.live, path) {
		rows = append(rows, path)
	}
	if _, err := r.Do(ctx, e, nil, removal(rows)); err != nil {
		return err
	}
	for some := range slices.Chunk(left.past, kv.MaxOps) {
		if _, err := r.Do(ctx, hold.Event{}, nil, removal(some)); err != nil {
			return err
		}
	}
	left, err := Left(ctx, r.Store, r.Layout, e.Key)
	if err == nil && !left.None() {
		err = fmt.Errorf("%s: another publisher published it again; stop that publisher, then run the same command again: %w",
			e.Key, kv.ErrConflict)
	}
	return err
}

func removal(paths []string) func(kv.Snapshot) ([]kv.Op, error) {
	return func(kv.Snapshot) (ops []kv.Op, err error) {
		for _, path := range paths {
			ops = append(ops, kv.Op{Verb: kv.Delete, Path: path})
		}
		return ops, nil
	}
}
