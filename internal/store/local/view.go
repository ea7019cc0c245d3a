package local

import (
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// state is the store at one moment. It is never changed.
type state struct {
	index        uint64 // of the last write
	tables       uint64 // of the last write of a row or a grave
	sessionIndex uint64
	rows         *iradix.Tree[*Row]
	graves       *iradix.Tree[Grave]
	sessions     *iradix.Tree[*Session]
}

// firstIndex is below that of the first write. As in Consul no entry has index 1: that is what
// a client is told of what never was, and the first write must differ from it.
const firstIndex = 1

func restore(saved *Saved) *state {
	rows, graves, sessions := iradix.New[*Row]().Txn(), iradix.New[Grave]().Txn(), iradix.New[*Session]().Txn()
	for _, row := range saved.Rows {
		rows.Insert([]byte(row.Path), row)
	}
	for _, grave := range saved.Graves {
		graves.Insert([]byte(grave.Path), grave)
	}
	for _, session := range saved.Sessions {
		sessions.Insert([]byte(session.ID), session)
	}
	return &state{
		index: max(saved.Index, firstIndex), tables: saved.Tables, sessionIndex: saved.SessionIndex,
		rows: rows.CommitOnly(), graves: graves.CommitOnly(), sessions: sessions.CommitOnly(),
	}
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
func (v View) List(prefix string) iter.Seq[*Row] { return values(v.s.rows, prefix) }

// Index is that of the last write to any row, deletions included; 0 if there was none. It is what
// Consul tells of a row that does not exist.
func (v View) Index() uint64 { return v.s.tables }

// ListIndex is that of the last write below prefix, as far as it is remembered, or else Index.
func (v View) ListIndex(prefix string) uint64 {
	if prefix == "" {
		return v.s.tables
	}
	index := uint64(0)
	for row := range v.List(prefix) {
		index = max(index, row.ModifyIndex)
	}
	for grave := range values(v.s.graves, prefix) {
		index = max(index, grave.Index)
	}
	if index == 0 {
		return v.s.tables
	}
	return index
}

// Session returns the session with this id, or nil.
func (v View) Session(id string) *Session {
	session, _ := v.s.sessions.Get([]byte(id))
	return session
}

// Sessions returns all sessions, in the order of their ids.
func (v View) Sessions() iter.Seq[*Session] { return values(v.s.sessions, "") }

// SessionIndex is that of the last session that was made or ended; 0 if there was none.
func (v View) SessionIndex() uint64 { return v.s.sessionIndex }

// Txn answers a transaction that only reads and checks. See Engine.Txn.
func (v View) Txn(ops []Op) ([]Row, []OpError, error) {
	return begin(v.s).txn(ops)
}

// all walks the entries of a tree whose keys begin with prefix.
func all[T any](tree *iradix.Tree[T], prefix string) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		walk := tree.Root().Iterator()
		walk.SeekPrefix([]byte(prefix))
		for {
			key, value, ok := walk.Next()
			if !ok || !yield(string(key), value) {
				return
			}
		}
	}
}

func values[T any](tree *iradix.Tree[T], prefix string) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, value := range all(tree, prefix) {
			if !yield(value) {
				return
			}
		}
	}
}
