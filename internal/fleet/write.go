package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/kv"
)

// maxTries is how often to write a receipt, if other writers on the node write in between.
const maxTries = 5

// Writer writes the receipt of its own node. It is not safe for concurrent use.
//
// The agent and any number of `out`s of one node write to the same receipt, so it is written with
// check-and-set. A Writer remembers its last receipt: an agent makes one request for each.
type Writer struct {
	Store interface {
		kv.Reader
		kv.Writer
	}
	Layout kv.Layout
	Node   string
	Host   string           // the operating system's host name; "": as the node
	Now    func() time.Time // nil: time.Now

	lost  uint64
	known bool // index and last are current, as far as we know
	index uint64
	last  Receipt
}

// PutAgent writes the agent's part: all of its targets. at is the moment to which all lengths of
// time in them refer. The targets of unknown files stay: an agent that has just started has not
// reconciled them yet. The errors are those of the store; after one, the next call reads the receipt
// first.
func (w *Writer) PutAgent(ctx context.Context, at time.Time, a Agent, targets []Target, unknown ...string) error {
	_, err := w.put(ctx, Receipt{Sent: at, Agent: &a, Targets: targets}, unknown, func(Receipt) bool { return false })
	return err
}

// PutOut writes the one target of an `out`, see PutAgent. If the receipt has the same target already,
// and nothing was placed, it does not write. It reports whether it wrote.
func (w *Writer) PutOut(ctx context.Context, at time.Time, t Target) (bool, error) {
	t.File = strings.ToValidUTF8(t.File, "\ufffd") // as it is read again
	return w.put(ctx, Receipt{Sent: at, Targets: []Target{t}}, nil, func(r Receipt) bool {
		return t.Placed == nil && slices.ContainsFunc(r.Targets, func(o Target) bool { return Same(o, t) })
	})
}

func (w *Writer) put(ctx context.Context, part Receipt, unknown []string, enough func(Receipt) bool) (bool, error) {
	var err error
	for range maxTries {
		if !w.known {
			if err := w.read(ctx); err != nil {
				return false, err
			}
		}
		if enough(w.last) {
			return false, nil
		}
		r := merge(w.last, part, unknown, w.now())
		r.Node, r.ClockOffset, r.Lost = w.Node, kv.ClockOffset(w.Store), max(w.last.Lost, w.lost)
		if w.Host != w.Node {
			r.Host = w.Host
		}
		err = w.commit(ctx, r)
		if !errors.Is(err, kv.ErrConflict) {
			return err == nil, err
		}
	}
	return false, fmt.Errorf("the receipt of %s: other programs on this node keep writing it: %w", w.Node, err)
}

// read reads the current receipt. An invalid one is replaced.
func (w *Writer) read(ctx context.Context) error {
	path := w.Layout.Node(w.Node)
	rows, err := w.Store.Read(ctx, kv.Default, path)
	if err != nil {
		return err
	}
	row := rows[path]
	if row.State == kv.Denied {
		return fmt.Errorf("read %s: %w", path, kv.ErrDenied)
	}
	if row.State == kv.Present && row.Index < w.index { // the store has lost our last receipt
		w.lost = w.index
	}
	w.known, w.index, w.last = true, row.Index, Receipt{}
	if row.State == kv.Present {
		if r, err := ParseReceipt(w.Node, row.Value, row.Flags); err == nil {
			w.last = r
		}
	}
	return nil
}

func (w *Writer) commit(ctx context.Context, r Receipt) error {
	value, flags, err := r.Marshal()
	if err != nil {
		return err
	}
	path := w.Layout.Node(w.Node)
	index := w.index
	w.known = false // until the store has answered
	written, err := w.Store.Commit(ctx, []kv.Op{{Verb: kv.CheckAndSet, Path: path, Value: value, Flags: flags, Index: index}})
	if err != nil {
		return err
	}
	w.known, w.index, w.last = true, written[path], r
	return nil
}

func (w *Writer) now() time.Time {
	if w.Now == nil {
		return time.Now()
	}
	return w.Now()
}
