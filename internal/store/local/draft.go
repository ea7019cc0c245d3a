package local

import (
	"bytes"
	"fmt"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// Verb is what an Op does, by the name that Consul's transactions have for it.
type Verb string

// The verbs of Consul's transactions.
const (
	Set            Verb = "set"
	CAS            Verb = "cas"
	Lock           Verb = "lock"
	Unlock         Verb = "unlock"
	Get            Verb = "get"
	GetOrEmpty     Verb = "get-or-empty"
	GetTree        Verb = "get-tree"
	CheckIndex     Verb = "check-index"
	CheckSession   Verb = "check-session"
	CheckNotExists Verb = "check-not-exists"
	Delete         Verb = "delete"
	DeleteTree     Verb = "delete-tree"
	DeleteCAS      Verb = "delete-cas"
)

// Writes reports whether the verb may change the store.
func (v Verb) Writes() bool {
	switch v {
	case Set, CAS, Lock, Unlock, Delete, DeleteTree, DeleteCAS:
		return true
	default:
		return false
	}
}

// Known reports whether there is such a verb.
func (v Verb) Known() bool {
	switch v {
	case Get, GetOrEmpty, GetTree, CheckIndex, CheckSession, CheckNotExists:
		return true
	default:
		return v.Writes()
	}
}

// Op is one operation on one path, or on the tree below it.
type Op struct {
	Verb    Verb
	Path    string
	Value   []byte // the store keeps it: it is not to be changed any more
	Flags   uint64
	Index   uint64 // of cas, delete-cas and check-index
	Session string // of lock, unlock and check-session
}

// OpError is why an operation of a transaction failed, in Consul's words.
type OpError struct {
	OpIndex int
	What    string
}

// draft is a write that is being made: a state and what has been done to it.
type draft struct {
	base     *state
	index    uint64 // which this write will have
	rows     *iradix.Txn[*Row]
	graves   *iradix.Txn[Grave]
	sessions *iradix.Txn[*Session]

	touched []string // paths of rows that were set or deleted
	dug     []string // paths of graves
	made    []*Session
	ended   []string
}

func begin(s *state) *draft {
	return &draft{
		base: s, index: s.index + 1,
		rows: s.rows.Txn(), graves: s.graves.Txn(), sessions: s.sessions.Txn(),
	}
}

// end is the state with the draft in it, what to write down of it, and what has changed; or nil
// if nothing has.
func (d *draft) end(now time.Time) (*state, Change, []Topic) {
	change := Change{Index: d.index, Sessions: d.made, Ended: d.ended}
	next := *d.base
	next.index = d.index
	next.rows, next.sessions = d.rows.CommitOnly(), d.sessions.CommitOnly()

	var topics []Topic
	seen := make(map[string]bool, len(d.touched))
	for _, path := range d.touched {
		if seen[path] {
			continue
		}
		seen[path] = true
		topics = append(topics, KeyTopic(path))
		if row, ok := next.rows.Get([]byte(path)); ok {
			change.Rows = append(change.Rows, row)
		} else {
			change.Deleted = append(change.Deleted, path)
		}
	}
	for _, path := range d.dug {
		grave := Grave{Path: path, Index: d.index, At: now}
		if old, _ := d.graves.Insert([]byte(path), grave); old.Index != d.index { // else it was dug by this very write
			change.Graves = append(change.Graves, grave)
		}
	}
	next.graves = d.graves.CommitOnly()
	if change.Tables() {
		next.tables = d.index
	}
	if change.OfSessions() {
		next.sessionIndex = d.index
		topics = append(topics, SessionsTopic())
	}
	if !change.Tables() && !change.OfSessions() {
		return nil, Change{}, nil
	}
	return &next, change, topics
}

// past is the state when a write has come to nothing. Its index is used up all
// the same, as in Consul: a transaction that fails may have told it.
func (s *state) past(index uint64) *state {
	next := *s
	next.index = index
	return &next
}

func (d *draft) get(path string) *Row {
	row, _ := d.rows.Get([]byte(path))
	return row
}

// put writes a row, and returns what stands then. The same content is no change: the row that is
// there stays, with its index.
func (d *draft) put(row Row) *Row {
	row.CreateIndex, row.ModifyIndex = d.index, d.index
	if old := d.get(row.Path); old != nil {
		row.CreateIndex = old.CreateIndex
		if old.Flags == row.Flags && old.LockIndex == row.LockIndex && old.Session == row.Session && bytes.Equal(old.Value, row.Value) {
			return old
		}
	}
	d.rows.Insert([]byte(row.Path), &row)
	d.touched = append(d.touched, row.Path)
	return &row
}

// set writes without touching who holds the lock. As in Consul, the count of locks begins anew.
func (d *draft) set(op Op) *Row {
	row := Row{Path: op.Path, Value: op.Value, Flags: op.Flags}
	if old := d.get(op.Path); old != nil {
		row.Session = old.Session
	}
	return d.put(row)
}

// cas sets if the row still has the index; index 0 means: if there is none.
func (d *draft) cas(op Op) (*Row, bool) {
	old := d.get(op.Path)
	if (old == nil) != (op.Index == 0) || old != nil && old.ModifyIndex != op.Index {
		return nil, false
	}
	return d.set(op), true
}

func (d *draft) lock(op Op) (*Row, bool, error) {
	if op.Session == "" {
		return nil, false, errNoSession
	}
	if _, ok := d.sessions.Get([]byte(op.Session)); !ok {
		return nil, false, fmt.Errorf("invalid session %#v", op.Session)
	}
	row := Row{Path: op.Path, Value: op.Value, Flags: op.Flags, Session: op.Session, LockIndex: 1}
	if old := d.get(op.Path); old != nil {
		switch old.Session {
		case op.Session:
			row.LockIndex = old.LockIndex
		case "":
			row.LockIndex = old.LockIndex + 1
		default:
			return nil, false, nil
		}
	}
	return d.put(row), true, nil
}

func (d *draft) unlock(op Op) (*Row, bool, error) {
	if op.Session == "" {
		return nil, false, errNoSession
	}
	old := d.get(op.Path)
	if old == nil || old.Session != op.Session {
		return nil, false, nil
	}
	return d.put(Row{Path: op.Path, Value: op.Value, Flags: op.Flags, LockIndex: old.LockIndex}), true, nil
}

func (d *draft) delete(path string) {
	if _, ok := d.rows.Delete([]byte(path)); ok {
		d.touched, d.dug = append(d.touched, path), append(d.dug, path)
	}
}

// deleteCAS deletes if the row still has the index. One that does not exist is deleted already.
func (d *draft) deleteCAS(op Op) bool {
	old := d.get(op.Path)
	if old != nil && old.ModifyIndex != op.Index {
		return false
	}
	d.delete(op.Path)
	return true
}

// deleteTree deletes all rows below a prefix. One grave stands for them; when all there is was
// deleted there is none, since the index of everything is that of the tables.
func (d *draft) deleteTree(prefix string) {
	paths := 0
	walk := d.rows.Root().Iterator()
	walk.SeekPrefix([]byte(prefix))
	for key, _, ok := walk.Next(); ok; key, _, ok = walk.Next() {
		d.touched = append(d.touched, string(key))
		paths++
	}
	if paths == 0 {
		return
	}
	d.rows.DeletePrefix([]byte(prefix))
	if prefix != "" {
		d.dug = append(d.dug, prefix)
	}
}
