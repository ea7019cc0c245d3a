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

// maxTries is how often a receipt is written anew because somebody else on the same
// node wrote in between.
const maxTries = 5

// Writer puts a node's own receipt into the store, and none of another's. It is not
// safe for concurrent use.
//
// A receipt is written with check-and-set, because the agent and any number of `out`s
// of one node write to the same one. Who wrote last knows what stands, so that an
// agent makes one request for a receipt.
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
	known bool // index and last are what stands, as far as we know
	index uint64
	last  Receipt
}

// PutAgent writes what an agent says: all of its targets, at the moment up to which all
// lengths of time in them go. Of the files that it does not know about yet, as it has just
// started, what stands is kept. The errors are those of the store; after any of them the
// next call begins with a look at what stands.
func (w *Writer) PutAgent(ctx context.Context, at time.Time, a Agent, targets []Target, unknown ...string) error {
	_, err := w.put(ctx, at, news{agent: &a, targets: targets, unknown: unknown}, func(Receipt) bool { return false })
	return err
}

// PutOut writes what an `out` says of its one target at a moment, see PutAgent, unless the
// same stands already and nothing was placed: a restored receipt may say the same. It reports
// whether it wrote.
func (w *Writer) PutOut(ctx context.Context, at time.Time, t Target) (bool, error) {
	t.File = strings.ToValidUTF8(t.File, "\ufffd") // as it is read again
	return w.put(ctx, at, news{targets: []Target{t}}, func(r Receipt) bool {
		return t.Placed == nil && slices.ContainsFunc(r.Targets, func(o Target) bool { return Same(o, t) })
	})
}

func (w *Writer) put(ctx context.Context, at time.Time, n news, enough func(Receipt) bool) (bool, error) {
	var err error
	for range maxTries {
		if !w.known {
			if err := w.look(ctx); err != nil {
				return false, err
			}
		}
		if enough(w.last) {
			return false, nil
		}
		now := w.now()
		r := merge(w.last, n.later(at, now), w.Node, now)
		r.ClockOffset = kv.ClockOffset(w.Store)
		r.Lost = max(w.last.Lost, w.lost)
		if w.Host != w.Node {
			r.Host = w.Host
		}
		err = w.commit(ctx, r)
		if !errors.Is(err, kv.ErrConflict) {
			return err == nil, err
		}
	}
	return false, fmt.Errorf("the receipt of %s: others on this node kept writing it: %w", w.Node, err)
}

// look finds out what stands. What cannot be read is replaced.
func (w *Writer) look(ctx context.Context) error {
	path := w.Layout.Node(w.Node)
	rows, err := w.Store.Read(ctx, kv.Default, path)
	if err != nil {
		return err
	}
	row := rows[path]
	if row.State == kv.Denied {
		return fmt.Errorf("read %s: %w", path, kv.ErrDenied)
	}
	if row.State == kv.Present && row.Index < w.index { // what we wrote is not there any more
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
	w.known = false // until we are told
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
