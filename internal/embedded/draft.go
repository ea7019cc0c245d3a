package embedded

import (
	"bytes"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// draft is a write that is being made: a state and what has been done to it.
type draft struct {
	base   *state
	index  uint64 // which this write will have
	rows   *iradix.Txn[*Row]
	graves *iradix.Txn[Grave]

	touched []string // paths of rows that were set or deleted
	dug     []string // paths of graves
}

func begin(s *state) *draft {
	return &draft{base: s, index: s.index + 1, rows: s.rows.Txn(), graves: s.graves.Txn()}
}

// end is the state with the draft in it, what to write down of it, and what has changed; or nil
// if nothing has.
func (d *draft) end(now time.Time) (*state, Change, []Topic) {
	change := Change{Index: d.index}
	next := *d.base
	next.index = d.index
	next.rows = d.rows.CommitOnly()

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
	if !change.Tables() {
		return nil, Change{}, nil
	}
	next.tables = d.index
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

// set writes a row, and returns the current one. The same content is no change: the row that is
// there stays, with its index.
func (d *draft) set(op Op) *Row {
	row := &Row{Path: op.Path, Value: op.Value, Flags: op.Flags, CreateIndex: d.index, ModifyIndex: d.index}
	if old := d.get(row.Path); old != nil {
		row.CreateIndex = old.CreateIndex
		if old.Flags == row.Flags && bytes.Equal(old.Value, row.Value) {
			return old
		}
	}
	d.rows.Insert([]byte(row.Path), row)
	d.touched = append(d.touched, row.Path)
	return row
}

// cas sets if the row still has the index; index 0 means: if there is none.
func (d *draft) cas(op Op) (*Row, bool) {
	old := d.get(op.Path)
	if (old == nil) != (op.Index == 0) || old != nil && old.ModifyIndex != op.Index {
		return nil, false
	}
	return d.set(op), true
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
	before := len(d.touched)
	for path := range all(d.rows.Root(), prefix) {
		d.touched = append(d.touched, path)
	}
	if len(d.touched) == before {
		return
	}
	d.rows.DeletePrefix([]byte(prefix))
	if prefix != "" {
		d.dug = append(d.dug, prefix)
	}
}
