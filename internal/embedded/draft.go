package embedded

import (
	"bytes"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// draft is a write in progress: a state and the changes to it.
type draft struct {
	base       *state
	index      uint64 // of this write
	rows       *iradix.Txn[*Row]
	tombstones *iradix.Txn[Tombstone]

	touched []string // paths of rows that were set or deleted
	buried  []string // paths of new tombstones
}

func begin(s *state) *draft {
	return &draft{base: s, index: s.index + 1, rows: s.rows.Txn(), tombstones: s.tombstones.Txn()}
}

// end returns the new state, the change for the journal, and the topics that changed; nil if nothing changed.
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
	for _, path := range d.buried {
		tombstone := Tombstone{Path: path, Index: d.index, At: now}
		if old, _ := d.tombstones.Insert([]byte(path), tombstone); old.Index != d.index { // else this write made it
			change.Tombstones = append(change.Tombstones, tombstone)
		}
	}
	next.tombstones = d.tombstones.CommitOnly()
	if !change.Tables() {
		return nil, Change{}, nil
	}
	next.tables = d.index
	return &next, change, topics
}

// past returns the state after a write that changed nothing. It uses up its index all the same, as in Consul: a failed
// transaction may have reported it.
func (s *state) past(index uint64) *state {
	next := *s
	next.index = index
	return &next
}

func (d *draft) get(path string) *Row {
	row, _ := d.rows.Get([]byte(path))
	return row
}

// set writes a row and returns the current one. If the content is the same, the existing row stays, with its index.
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

// cas sets the row if it still has the index; with index 0, if it does not exist.
func (d *draft) cas(op Op) (*Row, bool) {
	old := d.get(op.Path)
	if (old == nil) != (op.Index == 0) || old != nil && old.ModifyIndex != op.Index {
		return nil, false
	}
	return d.set(op), true
}

func (d *draft) delete(path string) {
	if _, ok := d.rows.Delete([]byte(path)); ok {
		d.touched, d.buried = append(d.touched, path), append(d.buried, path)
	}
}

// deleteCAS deletes the row if it still has the index. A row that does not exist counts as deleted.
func (d *draft) deleteCAS(op Op) bool {
	old := d.get(op.Path)
	if old != nil && old.ModifyIndex != op.Index {
		return false
	}
	d.delete(op.Path)
	return true
}

// deleteTree deletes all rows below a prefix, and leaves one tombstone. The empty prefix needs none: its index is the tables'.
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
		d.buried = append(d.buried, prefix)
	}
}
