package embedded

import (
	"context"
	"errors"
	"fmt"
)

// Verb is the kind of an Op, named as in Consul's transactions.
type Verb string

// The verbs of Consul's transactions, except for sessions.
const (
	Set            Verb = "set"
	CAS            Verb = "cas"
	Get            Verb = "get"
	GetOrEmpty     Verb = "get-or-empty"
	GetTree        Verb = "get-tree"
	CheckIndex     Verb = "check-index"
	CheckNotExists Verb = "check-not-exists"
	Delete         Verb = "delete"
	DeleteTree     Verb = "delete-tree"
	DeleteCAS      Verb = "delete-cas"
)

// Writes reports whether the verb may change the store.
func (v Verb) Writes() bool {
	switch v {
	case Set, CAS, Delete, DeleteTree, DeleteCAS:
		return true
	default:
		return false
	}
}

// Reads reports whether the verb answers with values.
func (v Verb) Reads() bool { return v == Get || v == GetOrEmpty || v == GetTree }

// Known reports whether the verb exists.
func (v Verb) Known() bool { return v.Writes() || v.Reads() || v == CheckIndex || v == CheckNotExists }

// Op is one operation on one path, or on the tree below it.
type Op struct {
	Verb  Verb
	Path  string
	Value []byte // the store keeps it: do not modify it afterwards
	Flags uint64
	Index uint64 // of cas, delete-cas and check-index
}

// OpError is why an operation of a transaction failed, in Consul's words.
type OpError struct {
	OpIndex int
	What    string
}

// Apply executes one write, like PUT and DELETE in Consul's KV API. It returns false, and writes nothing, if the check of a cas
// or delete-cas fails. Errors wrap ErrNotWritten, ErrUnknown or ErrClosed.
func (e *Engine) Apply(ctx context.Context, op Op) (bool, error) {
	held := false
	err := e.do(ctx, func(d *draft) error {
		_, held = d.apply(op)
		return nil
	})
	return held && err == nil, err
}

// Txn executes all operations or none, in order; each sees the effect of the earlier ones. It returns Consul's rows: one for each
// operation that leaves or finds a row, and all rows of a get-tree. Value is empty except for get, get-or-empty and get-tree. If
// it returns OpErrors, nothing was written. The caller checks permissions, verbs and paths.
func (e *Engine) Txn(ctx context.Context, ops []Op) (rows []*Row, failed []OpError, err error) {
	err = e.do(ctx, func(d *draft) (err error) {
		if rows, failed, err = d.txn(ops, MaxAnswer); err == nil && len(failed) > 0 {
			return errFailed
		}
		return err
	})
	switch {
	case errors.Is(err, errFailed):
		return nil, failed, nil
	case err != nil:
		return nil, nil, err
	}
	return rows, nil, nil
}

// errFailed undoes the draft of a failed transaction.
var errFailed = errors.New("the transaction has failed")

// MaxAnswer limits the answer of a transaction that writes, by the Size of its rows. Each operation may read the whole store, so
// a small request could otherwise use up the memory.
const MaxAnswer = 8 << 20

// ErrAnswerTooLarge: the answer of a transaction would be too large. Nothing was written.
var ErrAnswerTooLarge = errors.New("the answer is too large")

// Size is the size of a row in an answer, in bytes.
func (r *Row) Size() int { return len(r.Path) + len(r.Value) + 128 }

// txn executes the operations. It returns the rows of the answer, of at most limit bytes, and the failures that Consul would
// report.
func (d *draft) txn(ops []Op, limit int) (rows []*Row, failed []OpError, err error) {
	size := 0
	add := func(row *Row) {
		if size += row.Size(); size > limit {
			err = fmt.Errorf("%w: it would have more than %d bytes; read fewer rows in a transaction", ErrAnswerTooLarge, limit)
		} else {
			rows = append(rows, row)
		}
	}
	for i, op := range ops {
		var row *Row
		what := ""
		switch {
		case op.Verb == GetTree:
			for row := range values(d.rows.Root(), op.Path) {
				if add(row); err != nil {
					break
				}
			}
		case op.Verb.Writes():
			var held bool
			if row, held = d.apply(op); !held {
				what = refusal(op)
			}
		default:
			row, what = d.check(op)
		}
		if what != "" {
			failed = append(failed, OpError{OpIndex: i, What: what}) // Consul reports all failures
		} else if row != nil {
			if !op.Verb.Reads() {
				bare := *row
				bare.Value = nil
				row = &bare
			}
			add(row)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return rows, failed, nil
}

// apply executes one write, and returns the current row if the verb leaves one.
func (d *draft) apply(op Op) (*Row, bool) {
	switch op.Verb {
	case Set:
		return d.set(op), true
	case CAS:
		return d.cas(op)
	case Delete:
		d.delete(op.Path)
	case DeleteCAS:
		return nil, d.deleteCAS(op)
	case DeleteTree:
		d.deleteTree(op.Path)
	}
	return nil, true
}

// check executes one read or check, and returns Consul's error text if it fails.
func (d *draft) check(op Op) (row *Row, what string) {
	row = d.get(op.Path)
	switch {
	case op.Verb == GetOrEmpty && row == nil: // Consul returns the operation itself
		return &Row{Path: op.Path, Flags: op.Flags, ModifyIndex: op.Index}, ""
	case op.Verb == Get && row == nil:
		return nil, fmt.Sprintf("key %q doesn't exist", op.Path)
	case op.Verb == CheckIndex && row == nil:
		return nil, fmt.Sprintf("failed to check index, key %q doesn't exist", op.Path)
	case op.Verb == CheckIndex && row.ModifyIndex != op.Index:
		return nil, fmt.Sprintf("failed index check for key %q, current modify index %d != %d", op.Path, row.ModifyIndex, op.Index)
	case op.Verb == CheckNotExists && row != nil:
		return nil, fmt.Sprintf("key %q exists", op.Path)
	}
	return row, ""
}

// refusal is Consul's text for a write whose check failed.
func refusal(op Op) string {
	if op.Verb == DeleteCAS {
		return fmt.Sprintf("failed to delete key %q, index is stale", op.Path)
	}
	return fmt.Sprintf("failed to set key %q, index is stale", op.Path)
}
