package history

import (
	"context"
	"fmt"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// Read returns versions with their verified bytes, all of one moment: up to
// entriesPerRead. 0 is what stands, whatever its number.
//
// The error is a *NotKept for a version that is not, or no longer, there; a
// *gate.Missing for a key of which nothing is; a *gate.Refusal for a damaged one, or
// where only a later kvexpress can tell; it wraps kv.ErrDenied, or is the store's.
func (r Reader) Read(ctx context.Context, k kv.Key, versions ...uint64) ([]Content, error) {
	var numbers []uint64
	for _, n := range versions {
		if n > 0 {
			numbers = append(numbers, n)
		}
	}
	m, err := r.look(ctx, k, numbers)
	if err != nil {
		return nil, err
	}
	lineage := m.lineage(nil)
	if lineage == "" && len(numbers) > 0 { // its history tells
		l, err := r.List(ctx, k)
		if err != nil {
			return nil, err
		}
		lineage = l.Lineage
	}
	var all []Content
	for _, n := range versions {
		c, kept := m.standing()
		if n > 0 {
			c, kept = m.version(n, lineage)
		}
		if !kept || c.State != Whole {
			return nil, r.why(ctx, m, n, c, kept)
		}
		all = append(all, c)
	}
	return all, nil
}

// why is the error for a version that cannot be had. It names those that can.
func (r Reader) why(ctx context.Context, m *moment, n uint64, c Content, kept bool) error {
	l, err := r.List(ctx, m.key)
	switch {
	case err != nil:
		return err
	case kept && c.State == OtherLineage:
		return l.notKept(fmt.Sprintf("version %d in its history is of another lineage", n))
	case kept:
		return l.refuse(c.Version)
	case n == 0 && m.live.State == gate.Absent:
		return l.notKept("it was deleted, so that no version stands")
	case m.last() > 0 && n > m.last():
		return l.notKept(fmt.Sprintf("there is no version %d, the last one is %d", n, m.last()))
	}
	return l.notKept(fmt.Sprintf("version %d is no longer kept", n))
}
