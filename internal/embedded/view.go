package embedded

import (
	"context"
	"iter"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// state is the immutable content of the store at one time.
type state struct {
	index   uint64 // of the last change, at least 1: the first write has a larger index, so that it wakes a watch
	deleted uint64 // of the last deletion
	rows    *iradix.Tree[*Row]
}

func restore(saved *Saved) *state {
	rows := iradix.New[*Row]().Txn()
	for _, row := range saved.Rows {
		rows.Insert([]byte(row.Path), row)
	}
	return &state{max(saved.Index, 1), saved.Deletion, rows.CommitOnly()}
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
func (v View) List(prefix string) iter.Seq[*Row] { return list(v.s.rows.Root(), prefix) }

func list(root *iradix.Node[*Row], prefix string) iter.Seq[*Row] {
	return func(yield func(*Row) bool) {
		walk := root.Iterator()
		walk.SeekPrefix([]byte(prefix))
		for {
			if _, row, ok := walk.Next(); !ok || !yield(row) {
				return
			}
		}
	}
}

// Topic is what a reader waits for.
type Topic struct {
	Path string
	Tree bool // all rows whose paths begin with Path, instead of the row at Path
}

// Index is the index of the last change of a topic. As in Consul, the last change of any row counts for an absent row and for an
// empty list. The last deletion of any row counts for every list, so its index does not fall if rows go.
func (v View) Index(of Topic) uint64 {
	index, _ := v.find(of)
	return index
}

// find returns the index of a topic, and whether it has a row.
func (v View) find(of Topic) (index uint64, found bool) {
	switch row := v.Get(of.Path); {
	case of.Tree:
		for row := range v.List(of.Path) {
			index = max(index, row.ModifyIndex, v.s.deleted)
		}
	case row != nil:
		index = row.ModifyIndex
	}
	if index == 0 {
		return v.s.index, false
	}
	return index, true
}

// changed returns a channel that the next change of the topic closes. Some changes beside it close it, too.
func (v View) changed(of Topic) <-chan struct{} {
	root := v.s.rows.Root()
	if of.Tree {
		return root.Iterator().SeekPrefixWatch([]byte(of.Path))
	}
	changed, _, _ := root.GetWatch([]byte(of.Path))
	return changed
}

// Await returns the View in which the index of the topic is above since, or the newest one after wait. While it waits, it keeps
// no View, and changes beside an absent row or an empty list do not matter. If ctx ends first, it returns the error of ctx.
func (e *Engine) Await(ctx context.Context, t Topic, since uint64, wait time.Duration) (View, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for had := true; ; {
		view := e.View()
		index, has := view.find(t)
		if index > since && (had || has) {
			return view, nil
		}
		had = has
		select {
		case <-view.changed(t):
		case <-timer.C:
			return e.View(), nil
		case <-ctx.Done():
			return View{}, ctx.Err()
		}
	}
}
