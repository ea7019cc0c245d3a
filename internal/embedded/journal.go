package embedded

// Journal makes writes durable.
type Journal interface {
	// Load reads the stored content. It is called once, before Append.
	Load(*Saved) error
	// Append makes all changes durable, or none, before it returns. After an error that wraps ErrNotWritten, none of them is
	// durable; after any other error this is unknown.
	Append([]Change) error
	// Close waits for the current Append. A later Append fails with ErrNotWritten.
	Close() error
}

// Change is the effect of one write. Its rows are shared with readers and must not be modified.
type Change struct {
	Index   uint64   // of the write; it always grows
	Rows    []*Row   // written
	Deleted []string // paths of deleted rows, also of rows that the same write had made
}

// Saved is the content of a journal.
type Saved struct {
	Index    uint64 // of the last Change
	Deletion uint64 // of the last Change with a deleted row
	Rows     []*Row
}

// Row is one entry of the KV table. It must not be modified.
type Row struct {
	Path        string
	Value       []byte
	Flags       uint64
	CreateIndex uint64
	ModifyIndex uint64
}
