package embedded

import (
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// state is the store at one moment. It is never changed.
type state struct {
	index  uint64 // of the last write
	tables uint64 // of the last write of a row or a grave
	rows   *iradix.Tree[*Row]
	graves *iradix.Tree[Grave]
}

// firstIndex is below that of the first write. As in Consul no entry has index 1: that is what
// a client is told of what never was, and the first write must differ from it.
const firstIndex = 1

func restore(saved *Saved) *state {
	rows, graves := iradix.New[*Row]().Txn(), iradix.New[Grave]().Txn()
	for _, row := range saved.Rows {
		rows.Insert([]byte(row.Path), row)
	}
	for _, grave := range saved.Graves {
		graves.Insert([]byte(grave.Path), grave)
	}
	return &state{index: max(saved.Index, firstIndex), tables: saved.Tables, rows: rows.CommitOnly(), graves: graves.CommitOnly()}
}

// View is the store at one moment.
type View struct{ s *state }

// View returns the store as it is now: all writes that were acknowledged, and none that was not.
func (e *Engine) View() View { return View{e.state.Load()} }

// Get returns the row at path, or nil.
func (v View) Get(path string) *Row {
	row, _ := v.s.rows.Get([]byte(path))
	return row
}

// List returns the rows whose paths begin with prefix, in the order of their bytes.
func (v View) List(prefix string) iter.Seq[*Row] { return values(v.s.rows.Root(), prefix) }

// Index is that of the last write to any row, deletions included, or else 1. It is what
// Consul tells of a row that does not exist.
func (v View) Index() uint64 { return max(v.s.tables, firstIndex) }

// ListIndex is that of the last write below prefix, as far as it is remembered, or else Index.
func (v View) ListIndex(prefix string) uint64 {
	index := uint64(0)
	if prefix != "" {
		for row := range v.List(prefix) {
			index = max(index, row.ModifyIndex)
		}
		for grave := range values(v.s.graves.Root(), prefix) {
			index = max(index, grave.Index)
		}
	}
	if index == 0 {
		return v.Index()
	}
	return index
}

// Txn answers a transaction that only reads and checks. See Engine.Txn; each is called with each row, in order.
func (v View) Txn(ops []Op, each func(*Row) error) ([]OpError, error) {
	return begin(v.s).txn(ops, each)
}

// all walks the entries of a tree whose keys begin with prefix.
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
