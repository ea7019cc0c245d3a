package kv

import (
	"context"
	"time"
)

// Consistency is how fresh a read must be. Every read names one.
type Consistency int

const (
	// Default is answered by the leader, without a check that it still is
	// the leader.
	Default Consistency = iota
	// Stale is answered by any server, and may be old.
	Stale
	// Consistent is answered by a leader that has just made sure that it is
	// the leader. It costs a round trip between the servers.
	Consistent
)

// State tells why an entry has, or has not, a value.
type State int

const (
	// Denied: the row did not come back. The caller may not read it, or the
	// answer was not whole. It is never to be taken for an absent one. It is the
	// zero value on purpose: an entry that nobody asked for is Denied too.
	Denied State = iota
	// Absent: the store says that there is no such entry.
	Absent
	// Present: the entry exists. Its value may be empty.
	Present
)

// Entry is one row of the store.
type Entry struct {
	State State
	Value []byte
	Flags uint64
	// Index changes with every change of the entry. It is for check-and-set
	// alone, never a version. 0 where the entry is absent.
	Index uint64
}

// Snapshot is what Read returns: rows by path, all of one moment. A path that
// is not in it reads as Denied.
type Snapshot map[string]Entry

// Row is an entry with its path.
type Row struct {
	Path string
	Entry
}

// Listing is all that is below a prefix, as far as the caller may see it.
type Listing struct {
	Rows []Row // in the order of their paths
	// Index is what to wait for the next change with. It is never 0.
	Index uint64
	// Filtered: rows were left out, because the caller may not read them. A store
	// may leave rows out without a word: an empty Listing proves nothing.
	Filtered bool
}

// Verb is what an Op does.
type Verb int

const (
	// Set writes unconditionally.
	Set Verb = iota + 1
	// CheckAndSet writes if the entry's Index is still Op.Index; Index 0 means:
	// if the entry does not exist.
	CheckAndSet
	// CheckIndex writes nothing, and fails the transaction unless the entry's
	// Index is Op.Index.
	CheckIndex
	// CheckAbsent writes nothing, and fails the transaction if the entry
	// exists.
	CheckAbsent
	// Delete removes the entry; one that does not exist is no error.
	Delete
)

// Op is one step of a transaction.
type Op struct {
	Verb  Verb
	Path  string
	Value []byte
	Flags uint64
	Index uint64
}

// Limits of one transaction that every store must hold to. They are Consul's.
const (
	// MaxOps is how many operations one Read or Commit may have.
	MaxOps = 64
	// MaxTxnBody is the size in bytes of a transaction's JSON body, in which
	// values stand in base64.
	MaxTxnBody = 512 << 10
	// MaxStored is the most bytes of data, as stored, that fit into one
	// transaction with checksum and manifest.
	MaxStored = 380 << 10
	// MaxValue is the largest value that a row can have, in bytes. Above about
	// three quarters of it, only a Putter can write it.
	MaxValue = 512 << 10
)

// MaxNames is the most bytes of paths that one answer may bring, as they are sent.
const MaxNames = 8 << 20

// MaxListing is the most bytes that one List may bring, as they are sent: 20,000
// rows of four kilobytes and more.
const MaxListing = 128 << 20

// MaxWait is the longest that one Watch may last. A store that was restored with
// lower indexes answers an old one only when its time is up.
const MaxWait = time.Minute

// Watcher is a store that can wait for a change. Implementations are safe for
// concurrent use, put a limit on every request, and do not retry.
type Watcher interface {
	// Watch returns the entry at path as soon as its index is no longer since,
	// and after wait (at most MaxWait, and a little jitter) in any case; at
	// once if since is 0. The answer may be of any server, and old: a return is
	// no proof of a change. Entry.Index is what to pass next, for an absent
	// entry too. Entry.Flags is not known. An entry that may not be read is an
	// error: ErrDenied.
	Watch(ctx context.Context, path string, since uint64, wait time.Duration) (Entry, error)
}

// Putter is a store that can write a row which is too large for a transaction.
// Publishing never needs it: see MaxStored. The decorators of Stores have it if what
// they are around has it.
type Putter interface {
	// Put writes one row unconditionally, with a value of up to MaxValue bytes.
	// The errors are those of Commit.
	Put(ctx context.Context, path string, value []byte, flags uint64) error
}

// Clock is a store that tells the time. The decorators of Stores have it if what they are
// around has it.
type Clock interface {
	// Offset is by how much this machine's clock is ahead of the store's (below 0: behind),
	// by the least that the answers so far allow. ok is false if nothing is known.
	Offset() (offset time.Duration, ok bool)
}

// ClockOffset is the Offset of a store in milliseconds, as manifests and receipts have it;
// nil if it is not known.
func ClockOffset(s any) *int64 {
	c, ok := s.(Clock)
	if !ok {
		return nil
	}
	offset, ok := c.Offset()
	if !ok {
		return nil
	}
	ms := offset.Milliseconds()
	return &ms
}

// Store is a key-value store with transactions. It is all that publishing and
// delivering need. Implementations are safe for concurrent use, put a limit on
// every request's time and size, and do not retry: package retry does.
//
// Errors wrap one of the sentinels of this package.
type Store interface {
	Reader
	Writer
	// Keys lists the paths that begin with prefix, in order. Paths that the
	// caller may not read are left out silently: an empty answer proves
	// nothing.
	Keys(ctx context.Context, prefix string) ([]string, error)
	// Level is Keys for one level: of deeper paths, only what is up to the next slash, each
	// once. The prefix ends with a slash. ErrTooLarge: they have more than MaxNames bytes.
	Level(ctx context.Context, prefix string) ([]string, error)
	// List returns all rows whose paths begin with prefix, of one moment; with "" all
	// there are. With
	// since, the Index of the Listing before, it waits for a change first, and for
	// wait (at most MaxWait, and a little jitter) at most; a return is no proof of a
	// change. Never wait on a prefix that is empty: any write to the store is an
	// answer then. ErrTooLarge: the rows have more than MaxListing bytes.
	List(ctx context.Context, c Consistency, prefix string, since uint64, wait time.Duration) (Listing, error)
}

// Reader is the part of a Store that installing needs.
type Reader interface {
	// Read returns the rows of up to MaxOps paths, all of one moment.
	// An absent or unreadable path is no error: see State.
	Read(ctx context.Context, c Consistency, paths ...string) (Snapshot, error)
}

// Writer is the part of a Store that writes.
type Writer interface {
	// Commit applies all ops or none, in order, and returns the new Index of
	// each path that was written. ErrConflict: a check did not hold, nothing
	// was written. ErrUnknownOutcome: it may or may not have been applied.
	Commit(ctx context.Context, ops []Op) (map[string]uint64, error)
}
