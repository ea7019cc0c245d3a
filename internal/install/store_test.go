package install_test

import (
	"context"
	"slices"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// counted records the reads.
type counted struct {
	kv.Store
	reads [][]string
}

func (c *counted) Read(ctx context.Context, how kv.Consistency, paths ...string) (kv.Snapshot, error) {
	c.reads = append(c.reads, paths)
	return c.Store.Read(ctx, how, paths...)
}

// count makes the store of a node a counted one.
func (n *node) count() *counted {
	c := &counted{Store: n.store}
	n.store = c
	return c
}

// asked is how many reads there were since the last call, and how many of them
// had this path.
func (c *counted) asked(path string) (reads, of int) {
	for _, paths := range c.reads {
		if slices.Contains(paths, path) {
			of++
		}
	}
	reads, c.reads = len(c.reads), nil
	return reads, of
}

// stale answers all but consistent reads from an old state of the store.
type stale struct {
	kv.Store
	old kv.Store
}

func (s stale) Read(ctx context.Context, how kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if how == kv.Consistent {
		return s.Store.Read(ctx, how, paths...)
	}
	return s.old.Read(ctx, how, paths...)
}

// frozenCopy is a copy of this node's store as it is now.
func (n *node) frozenCopy() *embedded.Store {
	n.t.Helper()
	c := embedded.New()
	if err := fill(c, n.rows()); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// between is kvexpress 1.x between its two writes: for so many reads of the data
// the checksum is another one.
type between struct {
	kv.Store
	data, checksum, old string
	left                int
}

func (b *between) Read(ctx context.Context, how kv.Consistency, paths ...string) (kv.Snapshot, error) {
	s, err := b.Store.Read(ctx, how, paths...)
	if err == nil && slices.Contains(paths, b.data) && b.left > 0 {
		b.left--
		row := s[b.checksum]
		row.Value = []byte(b.old)
		s[b.checksum] = row
	}
	return s, err
}
