package local

import (
	"context"
	"errors"
	"fmt"
)

var errNoSession = errors.New("missing session")

// Apply makes one write, as PUT and DELETE on Consul's KV API do. False: the check of a cas, delete-cas,
// lock or unlock did not hold, and nothing was written. Errors are those of Consul's rules, or wrap
// ErrNotWritten, ErrUnknown or ErrClosed.
func (e *Engine) Apply(ctx context.Context, op Op) (bool, error) {
	if !op.Verb.Writes() {
		return false, fmt.Errorf("unknown KV operation: %s", op.Verb)
	}
	if op.Path == "" && op.Verb != DeleteTree {
		return false, errors.New("Must provide key") // Consul's words
	}
	if op.Verb == Lock && e.LockDelayed(op.Path) {
		return false, nil
	}
	held := false
	err := e.do(ctx, func(d *draft) error {
		_, ok, err := d.apply(op)
		held = ok
		return err
	}, nil)
	return held && err == nil, err
}

// Txn applies all operations or none, in order; each sees those before it. The rows are what Consul answers
// with: one for each operation that leaves or finds a row, and all of a get-tree; Value is empty except
// for get, get-or-empty and get-tree. With OpErrors, nothing was written and there are no rows. That an
// operation is allowed, known and has a path, the caller has made sure of; see also LockDelayed.
func (e *Engine) Txn(ctx context.Context, ops []Op) ([]Row, []OpError, error) {
	var rows []Row
	var failed []OpError
	err := e.do(ctx, func(d *draft) (err error) {
		rows, failed, err = d.txn(ops)
		if err == nil && len(failed) > 0 {
			return errFailed
		}
		return err
	}, nil)
	if errors.Is(err, errFailed) {
		return nil, failed, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return rows, nil, nil
}

// errFailed undoes the draft of a transaction whose operations have failed.
var errFailed = errors.New("the transaction has failed")

// Limits of what a transaction answers with. As each of its operations may read the whole store, without them a
// small request could take more memory than there is. All operations together may still read or leave 128 values of
// the largest size.
const (
	MaxAnswerRows  = 256 << 10
	MaxAnswerBytes = 128 << 20 // of paths and values
)

// ErrAnswerTooLarge: a transaction would answer with more than the limits.
var ErrAnswerTooLarge = errors.New("the answer of the transaction is too large")

// rowsOf are the rows that a transaction answers with.
type rowsOf struct {
	rows  []Row
	bytes int
}

func (r *rowsOf) add(row *Row, value bool) error {
	size := len(row.Path)
	if value {
		size += len(row.Value)
	}
	if r.bytes += size; len(r.rows) >= MaxAnswerRows || r.bytes > MaxAnswerBytes {
		return fmt.Errorf("%w: at most %d rows and %d bytes of keys and values; ask for fewer with each transaction", ErrAnswerTooLarge, MaxAnswerRows, MaxAnswerBytes)
	}
	r.rows = append(r.rows, *row)
	if !value {
		r.rows[len(r.rows)-1].Value = nil
	}
	return nil
}

func (d *draft) txn(ops []Op) ([]Row, []OpError, error) {
	var answer rowsOf
	var failed []OpError
	for i, op := range ops {
		err := d.step(op, &answer)
		switch {
		case errors.Is(err, ErrAnswerTooLarge):
			return nil, nil, err
		case err != nil:
			failed = append(failed, OpError{OpIndex: i, What: err.Error()}) // Consul tells all that failed
		}
	}
	if len(failed) > 0 {
		return nil, failed, nil
	}
	return answer.rows, nil, nil
}

// step does one operation of a transaction.
func (d *draft) step(op Op, answer *rowsOf) error {
	var row *Row
	var err error
	ok := true
	if op.Verb.Writes() {
		row, ok, err = d.apply(op)
	} else {
		row, err = d.look(op)
	}
	switch {
	case err != nil:
		return err
	case !ok:
		return refusal(op)
	case op.Verb == GetTree:
		walk := d.rows.Root().Iterator()
		walk.SeekPrefix([]byte(op.Path))
		for _, row, more := walk.Next(); more; _, row, more = walk.Next() {
			if err := answer.add(row, true); err != nil {
				return err
			}
		}
		return nil
	case row == nil:
		return nil
	}
	return answer.add(row, op.Verb == Get || op.Verb == GetOrEmpty)
}

// apply does one write. The row is what then stands, if the verb leaves one.
func (d *draft) apply(op Op) (*Row, bool, error) {
	switch op.Verb {
	case Set:
		return d.set(op), true, nil
	case CAS:
		row, ok := d.cas(op)
		return row, ok, nil
	case Lock:
		return d.lock(op)
	case Unlock:
		return d.unlock(op)
	case Delete:
		d.delete(op.Path)
		return nil, true, nil
	case DeleteCAS:
		return nil, d.deleteCAS(op), nil
	default:
		d.deleteTree(op.Path)
		return nil, true, nil
	}
}

// look does one read or check.
func (d *draft) look(op Op) (*Row, error) {
	row := d.get(op.Path)
	switch op.Verb {
	case Get:
		if row == nil {
			return nil, fmt.Errorf("key %q doesn't exist", op.Path)
		}
	case GetOrEmpty:
		if row == nil { // Consul gives back what it was asked with
			return &Row{Path: op.Path, Flags: op.Flags, Session: op.Session, ModifyIndex: op.Index}, nil
		}
	case CheckIndex:
		if row == nil {
			return nil, fmt.Errorf("failed to check index, key %q doesn't exist", op.Path)
		}
		if row.ModifyIndex != op.Index {
			return nil, fmt.Errorf("failed index check for key %q, current modify index %d != %d", op.Path, row.ModifyIndex, op.Index)
		}
	case CheckSession:
		if row == nil {
			return nil, fmt.Errorf("failed to check session, key %q doesn't exist", op.Path)
		}
		if row.Session != op.Session {
			return nil, fmt.Errorf("failed session check for key %q, current session %q != %q", op.Path, row.Session, op.Session)
		}
	case CheckNotExists:
		if row != nil {
			return nil, fmt.Errorf("key %q exists", op.Path)
		}
	case GetTree:
		return nil, nil
	default:
		return nil, fmt.Errorf("unknown KV operation: %s", op.Verb)
	}
	return row, nil
}

// refusal is what Consul says of a write in a transaction whose check did not hold.
func refusal(op Op) error {
	switch op.Verb {
	case Lock:
		return fmt.Errorf("failed to lock key %q, lock is already held", op.Path)
	case Unlock:
		return fmt.Errorf("failed to unlock key %q, lock isn't held, or is held by another session", op.Path)
	case DeleteCAS:
		return fmt.Errorf("failed to delete key %q, index is stale", op.Path)
	default:
		return fmt.Errorf("failed to set key %q, index is stale", op.Path)
	}
}
