package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"kvexpress/internal/kv"
)

// OpError is why an operation of a transaction failed, in Consul's words.
type OpError struct {
	OpIndex int
	What    string
}

// errFailed undoes the draft of a failed transaction.
var errFailed = errors.New("the transaction has failed")

// Txn executes all operations or none, in order; each sees the effect of the earlier ones. It returns a row for each operation;
// nil if the operation leaves or finds none. If it returns OpErrors, nothing was written. Errors wrap ErrNotWritten, ErrUnknown
// or ErrClosed. The store keeps the values: do not modify them afterwards. The caller checks permissions, verbs and paths.
func (e *Engine) Txn(ctx context.Context, ops []kv.Op) (rows []*Row, failed []OpError, err error) {
	err = e.do(ctx, func(d *draft) error {
		for i, op := range ops {
			row, what := d.apply(op)
			if rows = append(rows, row); what != "" {
				failed = append(failed, OpError{OpIndex: i, What: what}) // Consul reports all failures
			}
		}
		if len(failed) > 0 {
			return errFailed
		}
		return nil
	})
	if errors.Is(err, errFailed) {
		return nil, failed, nil
	}
	return rows, nil, err
}

// DeleteTree deletes all rows whose paths begin with prefix. It returns the errors of Txn.
func (e *Engine) DeleteTree(ctx context.Context, prefix string) error {
	return e.do(ctx, func(d *draft) error {
		for row := range list(d.rows.Root(), prefix) {
			d.touched = append(d.touched, row.Path)
		}
		d.rows.DeletePrefix([]byte(prefix))
		return nil
	})
}

// draft is a write in progress: a state and the changes to it.
type draft struct {
	base    *state
	rows    *iradix.Txn[*Row]
	touched []string // paths of rows that were set or deleted
}

func begin(s *state) *draft {
	d := &draft{base: s, rows: s.rows.Txn()}
	d.rows.TrackMutate(true) // for the channels of waiting readers
	return d
}

// end returns the new state and the change for the journal.
func (d *draft) end() (*state, Change) {
	next := &state{d.base.index + 1, d.base.deleted, d.rows.CommitOnly()}
	change := Change{Index: next.index}
	seen := make(map[string]bool, len(d.touched))
	for _, path := range d.touched {
		if seen[path] {
			continue
		}
		seen[path] = true
		if row, ok := next.rows.Get([]byte(path)); ok {
			change.Rows = append(change.Rows, row)
		} else {
			change.Deleted = append(change.Deleted, path)
			next.deleted = next.index
		}
	}
	return next, change
}

// apply executes one operation. It returns the row that is there afterwards, or Consul's text if a check fails.
func (d *draft) apply(op kv.Op) (row *Row, what string) {
	old, _ := d.rows.Get([]byte(op.Path))
	index := uint64(0)
	if old != nil {
		index = old.ModifyIndex
	}
	switch {
	case op.Verb == kv.CheckAbsent && old != nil:
		return nil, fmt.Sprintf("key %q exists", op.Path)
	case op.Verb == kv.CheckIndex && old == nil:
		return nil, fmt.Sprintf("failed to check index, key %q doesn't exist", op.Path)
	case op.Verb == kv.CheckIndex && index != op.Index:
		return nil, fmt.Sprintf("failed index check for key %q, current modify index %d != %d", op.Path, index, op.Index)
	case op.Verb == kv.CheckAndSet && index != op.Index:
		return nil, fmt.Sprintf("failed to set key %q, index is stale", op.Path)
	case op.Verb == kv.Set || op.Verb == kv.CheckAndSet:
		return d.set(op, old), ""
	case op.Verb == kv.Delete && old != nil:
		d.rows.Delete([]byte(op.Path))
		d.touched = append(d.touched, op.Path)
		return nil, ""
	}
	return old, ""
}

// set writes a row and returns the current one. If the content is the same, the existing row stays, with its index.
func (d *draft) set(op kv.Op, old *Row) *Row {
	index := d.base.index + 1
	row := &Row{Path: op.Path, Value: op.Value, Flags: op.Flags, CreateIndex: index, ModifyIndex: index}
	if old != nil {
		row.CreateIndex = old.CreateIndex
		if old.Flags == row.Flags && bytes.Equal(old.Value, row.Value) {
			return old
		}
	}
	d.rows.Insert([]byte(row.Path), row)
	d.touched = append(d.touched, row.Path)
	return row
}
