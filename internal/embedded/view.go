package embedded

import (
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// state is the immutable content of the store at one time.
type state struct {
	index      uint64 // of the last write
	tables     uint64 // of the last write of a row or a tombstone
	rows       *iradix.Tree[*Row]
	tombstones *iradix.Tree[Tombstone]
}

// firstIndex is reported for rows that never existed. As in Consul, the first write has a larger index, so that it wakes a watch.
const firstIndex = 1

func restore(saved *Saved) *state {
	rows, tombstones := iradix.New[*Row]().Txn(), iradix.New[Tombstone]().Txn()
	for _, row := range saved.Rows {
		rows.Insert([]byte(row.Path), row)
	}
	for _, tombstone := range saved.Tombstones {
		tombstones.Insert([]byte(tombstone.Path), tombstone)
	}
	return &state{max(saved.Index, firstIndex), saved.Tables, rows.CommitOnly(), tombstones.CommitOnly()}
}

// View is a snapshot of the store.
type View struct{ s *state }

// View returns the current snapshot: all acknowledged writes, and no others.
func (e *Engine) View() View { return View{e.state.Load()} }

// Get returns the row at path, or nil.
func (v View) Get(path string) *Row {
	row, _ := v.s.rows.Get([]byte(path))
	return row
}

// List returns the rows whose paths begin with prefix, in byte order.
func (v View) List(prefix string) iter.Seq[*Row] { return values(v.s.rows.Root(), prefix) }

// Index is the index of the last write or deletion of any row, at least 1. Consul reports it for a row that does not exist.
func (v View) Index() uint64 { return max(v.s.tables, firstIndex) }

// ListIndex is the index of the last write or remembered deletion below prefix, or else Index.
func (v View) ListIndex(prefix string) uint64 {
	index := uint64(0)
	if prefix != "" {
		for row := range v.List(prefix) {
			index = max(index, row.ModifyIndex)
		}
		for tombstone := range values(v.s.tombstones.Root(), prefix) {
			index = max(index, tombstone.Index)
		}
	}
	if index == 0 {
		return v.Index()
	}
	return index
}

// Txn answers a transaction that only reads and checks, like Engine.Txn. limit is the largest answer, by the Size of its rows.
func (v View) Txn(ops []Op, limit int) ([]*Row, []OpError, error) { return begin(v.s).txn(ops, limit) }

// all yields the entries of a tree whose keys begin with prefix.
func all[T any](root *iradix.Node[T], prefix string) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		walk := root.Iterator()
		walk.SeekPrefix([]byte(prefix))
		for {
			key, value, ok := walk.Next()
			if !ok || !yield(string(key), value) {
				return
			}
		}
	}
}

func values[T any](root *iradix.Node[T], prefix string) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, value := range all(root, prefix) {
			if !yield(value) {
				return
			}
		}
	}
}
