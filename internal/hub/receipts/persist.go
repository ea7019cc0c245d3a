package receipts

import (
	"context"
	"errors"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
)

const (
	// gather is how long receipts are collected for one transaction.
	gather = 50 * time.Millisecond
	// batchBytes limits the values of one transaction, which is sent in base64.
	batchBytes = kv.MaxStored / 2
	// writeLimit limits the time of one transaction.
	writeLimit = 15 * time.Second
)

// Persist writes receipts whose meaning changed to the store, in batches, until ctx ends.
func (t *Table) Persist(ctx context.Context) {
	failures, full := 0, false
	for {
		if !full {
			select {
			case <-t.dirty:
			case <-ctx.Done():
				return
			}
			if wait.For(ctx, gather) != nil {
				return
			}
		}
		n, more, err := t.batch(ctx)
		full = more
		switch {
		case err != nil:
			if failures++; failures == 1 {
				says := safetext.Joined(err.Error(), 0)
				if errors.Is(err, kv.ErrDenied) {
					says += "; `kvexpress acl hub` prints the policy that the hub's token needs"
				}
				t.o.Log.Warn("receipts were not written; hubs have them in memory", "error", says)
			}
			if wait.For(ctx, wait.Backoff{Least: time.Second, Most: 15 * time.Second}.After(failures-1)) != nil {
				return
			}
		case failures > 0 && n > 0:
			failures = 0
			t.o.Log.Info("receipts are written again")
		}
	}
}

// batch writes some rows, and returns how many there were to write, and whether there are more.
func (t *Table) batch(ctx context.Context) (n int, full bool, err error) {
	rows, ops, full := t.next()
	if len(rows) == 0 {
		return 0, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	written, err := t.o.Store.Commit(ctx, ops)
	if errors.Is(err, kv.ErrConflict) || errors.Is(err, kv.ErrUnknownOutcome) {
		err = errors.Join(t.reread(ctx, ops), unlessConflict(err))
	}
	if written == nil && err == nil {
		_ = wait.For(ctx, gather) // a server that is behind may refuse the next one, too
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.counts.Failed++
	} else if written == nil {
		t.counts.Conflicts++
	} else {
		t.counts.Batches++
		t.counts.Written += uint64(len(rows))
	}
	for i, r := range rows {
		if index, ok := written[ops[i].Path]; ok && t.rows[r.node] == r {
			r.index = index
		} else {
			t.write(r)
		}
	}
	return len(rows), full, err
}

func unlessConflict(err error) error {
	if errors.Is(err, kv.ErrConflict) {
		return nil
	}
	return err
}

// next takes rows to write, up to the limits of one transaction; full: there are more.
func (t *Table) next() (rows []*row, ops []kv.Op, full bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := 0
	for _, r := range t.rows {
		if !r.dirty {
			continue
		}
		if r.removed || r.err != nil {
			r.dirty = false
			continue
		}
		e := r.encoded()
		if size += len(e.Value); len(ops) == kv.MaxOps || len(ops) > 0 && size > batchBytes {
			return rows, ops, true
		}
		r.dirty, r.stored = false, r.receipt.Targets
		rows = append(rows, r)
		ops = append(ops, kv.Op{Verb: kv.CheckAndSet, Path: t.o.Layout.Node(r.node), Value: e.Value, Flags: e.Flags, Index: r.index})
	}
	return rows, ops, false
}

// reread reads the rows of a transaction that failed, and merges what others wrote meanwhile.
func (t *Table) reread(ctx context.Context, ops []kv.Op) error {
	paths := make([]string, len(ops))
	for i, op := range ops {
		paths[i] = op.Path
	}
	rows, err := t.o.Store.Read(ctx, kv.Default, paths...)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, path := range paths {
		if rows[path].State != kv.Denied {
			t.merge(kv.Row{Path: path, Entry: rows[path]})
		}
	}
	return nil
}

// merge takes a row of the store. If a hub knows of a later contact with the node, only the targets of `out`s count; mu is
// held.
func (t *Table) merge(stored kv.Row) {
	node := stored.Path[len(t.o.Layout.NodesDir()):]
	r := t.row(node)
	if r == nil || stored.State == kv.Present && stored.Index == r.index {
		return
	}
	connected := (r.live > 0 || r.via != "") && !r.removed
	if stored.State == kv.Absent {
		r.index = 0
		if !connected && !r.removed {
			t.remove(r)
		}
		return
	}
	other, err := fleet.ParseReceipt(node, stored.Value, stored.Flags)
	known := connected || r.dated && !r.removed && other.Contact().Before(r.receipt.Contact())
	switch {
	case known && err == nil:
		t.set(r, r.receipt.Others(other))
	case connected: // the agent's replaces what cannot be read
	default:
		t.set(r, other)
		r.err, r.entry, r.dated, r.own = err, stored.Entry, false, false
	}
	r.index, r.stored = stored.Index, other.Targets
}
