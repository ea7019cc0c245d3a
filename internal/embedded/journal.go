package embedded

import "time"

// Journal makes writes durable.
type Journal interface {
	// Load reads all that is stored. It is called once, before anything is appended.
	Load(*Saved) error
	// Append makes changes durable, all of them or none, before it returns. An error that
	// wraps ErrNotWritten says that surely none of them is; after any other it is not known.
	Append([]Change) error
	// Close waits for an Append that is under way; one that comes later wraps ErrNotWritten.
	Close() error
}

// Change is what one write did. Rows are shared with readers: they are not to be changed.
type Change struct {
	Index   uint64   // of the write; it grows from one to the next
	Rows    []*Row   // written
	Deleted []string // paths whose rows are gone; also of those that this write itself had made
	Graves  []Grave  // dug; a path has one, the newest
	Reaped  []string // graves that are gone
}

// Tables reports whether the change gives the KV tables its index.
func (c *Change) Tables() bool { return len(c.Rows)+len(c.Deleted)+len(c.Graves) > 0 }

// Saved is all that a store holds.
type Saved struct {
	Index  uint64 // of the last Change
	Tables uint64 // of the last one for which Tables held
	Rows   []*Row
	Graves []Grave
}

// Row is one entry of the KV table. It is not to be changed.
type Row struct {
	Path        string
	Value       []byte
	Flags       uint64
	CreateIndex uint64
	ModifyIndex uint64
}

// Grave remembers a deletion, so that a list's index does not fall by it. Consul calls it
// tombstone. The grave of a whole tree stands at the tree's prefix.
type Grave struct {
	Path  string
	Index uint64
	At    time.Time
}
