package kv

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Consistency is the consistency mode of a read, as in Consul.
type Consistency int

const (
	// Default is answered by the leader, which does not verify its leadership.
	Default Consistency = iota
	// Stale is answered by any server, and may be outdated.
	Stale
	// Consistent is answered by a leader that verified its leadership. It costs a round trip between the servers.
	Consistent
)

// State says whether an entry has a value.
type State int

const (
	// Denied: the answer does not contain the row, because the caller may not read it, or the answer is incomplete. Never treat it
	// as Absent. It is the zero value, so that an entry that was not requested is Denied too.
	Denied State = iota
	// Absent: the store reports that the entry does not exist.
	Absent
	// Present: the entry exists. Its value may be empty.
	Present
)

// Entry is one row of the store.
type Entry struct {
	State State
	Value []byte
	Flags uint64
	// Index changes with every change of the entry. It is for check-and-set only, not a version. An absent entry has 0.
	Index uint64
}

// Snapshot maps paths to rows, all read at the same moment. A path that is not in it reads as Denied.
type Snapshot map[string]Entry

// Row is an entry with its path.
type Row struct {
	Path string
	Entry
}

// Listing is the readable content below a prefix.
type Listing struct {
	Rows []Row // in the order of their paths
	// Index is the index to wait on for the next change. It is never 0.
	Index uint64
	// Filtered: rows were left out because the caller may not read them. A store may leave rows out without setting it, so an empty
	// Listing proves nothing.
	Filtered bool
}

// Verb is the kind of an Op, in the words of Consul's transactions.
type Verb string

const (
	// Set writes unconditionally.
	Set Verb = "set"
	// CheckAndSet writes if the entry's Index is still Op.Index; with Index 0, if the entry does not exist.
	CheckAndSet Verb = "cas"
	// CheckIndex fails the transaction unless the entry's Index is Op.Index. It writes nothing.
	CheckIndex Verb = "check-index"
	// CheckAbsent fails the transaction if the entry exists. It writes nothing.
	CheckAbsent Verb = "check-not-exists"
	// Delete removes the entry. A missing entry is no error.
	Delete Verb = "delete"
)

// Known reports whether v is a verb.
func (v Verb) Known() bool {
	return slices.Contains([]Verb{Set, CheckAndSet, CheckIndex, CheckAbsent, Delete}, v)
}

// Op is one operation of a transaction.
type Op struct {
	Verb  Verb
	Path  string
	Value []byte
	Flags uint64
	Index uint64
}

// The limits of a transaction in every store. They come from Consul.
const (
	// MaxOps limits the operations of one Read or Commit.
	MaxOps = 64
	// MaxTxnBody limits the JSON body of a transaction, in bytes. Its values are in base64.
	MaxTxnBody = 512 << 10
	// MaxStored limits data, as stored, that fits into one transaction with checksum and manifest, in bytes.
	MaxStored = 380 << 10
	// MaxValue limits the value of a row, in bytes. Above about three quarters of it, only Store.Put can write it.
	MaxValue = 512 << 10
)

// MaxNames limits the answer to Keys and Level, in bytes as sent.
const MaxNames = 8 << 20

// MaxListing limits the answer to List, and to a Read with a tree, in bytes as sent: more than 20,000 rows of 4 KiB.
const MaxListing = 128 << 20

// MaxWait limits one Watch. After a restore to lower indexes, a store answers an old index only when the wait is over.
const MaxWait = time.Minute

// Watcher is a store that can wait for a change. Implementations are safe for concurrent use, limit every request, and do not
// retry.
type Watcher interface {
	// Watch returns the entry at path when its index differs from since, or after wait (at most MaxWait, plus jitter). With since 0
	// it returns at once. Any server may answer, so the entry may be outdated, and a return does not prove a change. Pass
	// Entry.Index as the next since, also for an absent entry. Entry.Flags is not set. ErrDenied: the caller may not read the entry.
	Watch(ctx context.Context, path string, since uint64, wait time.Duration) (Entry, error)
}

// Pulser is a store that can wait for a change of any row below a folder. Implementations are like those of Watcher.
type Pulser interface {
	// Pulse returns the beat of dir, which ends with a slash, when its index differs from since, or after wait (at most MaxWait,
	// plus jitter). With since 0 it returns at once. The leader answers. A return does not prove a change. Pass Beat.Index as the
	// next since; if it is lower than the last one, the store was restored or forgot old deletions: pass 0.
	Pulse(ctx context.Context, dir string, since uint64, wait time.Duration) (Beat, error)
}

// Beat is an answer to Pulse.
type Beat struct {
	// Index changes when a row below the folder is written or deleted. It is never 0.
	Index uint64
	// Empty: there is no row that the caller may read. In Consul, any write to the store then changes the Index.
	Empty bool
}

// Permissions is a store that can check what a token may do.
type Permissions interface {
	// Denied returns the paths that a token may not read or may not write, each once, in order; "" is a caller without a token.
	// It checks up to MaxOps paths in all, sends no values and writes nothing. Paths are single rows: a store cannot be asked
	// about a folder. ErrDenied: the store does not know the token. Any other error: the check did not run, which denies nothing.
	Denied(ctx context.Context, token string, reads, writes []string) ([]string, error)
}

// Clock is a store that knows the skew of this machine's clock. A decorator implements it if its store does.
type Clock interface {
	// Offset is the smallest possible skew of this machine's clock: positive if it is ahead of the store's. ok is false if unknown.
	Offset() (offset time.Duration, ok bool)
}

// ClockOffset returns the Offset of a store in milliseconds; nil if unknown.
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

// Store is a key-value store with transactions. Implementations are safe for concurrent use, limit the time and size of every
// request, and do not retry: package retry does. Errors wrap one of the sentinels of this package.
type Store interface {
	Reader
	Writer
	// Put writes one row unconditionally, with a value of up to MaxValue bytes, which may be too large for a transaction. Publishing
	// never needs it: see MaxStored. It returns the errors of Commit.
	Put(ctx context.Context, path string, value []byte, flags uint64) error
	// Keys lists the paths that begin with prefix, in order. Paths that the caller may not read are left out, so an empty answer
	// proves nothing.
	Keys(ctx context.Context, prefix string) ([]string, error)
	// Level lists one level below prefix, which ends with a slash: deeper paths are cut after the next slash, each once.
	// ErrTooLarge: the answer has more than MaxNames bytes.
	Level(ctx context.Context, prefix string) ([]string, error)
	// List returns a snapshot of all rows whose paths begin with prefix; with "", of all rows. With since, the Index of an earlier
	// Listing, it waits for a change, at most for wait (at most MaxWait, plus jitter). A return does not prove a change. Do not wait
	// on a prefix without rows: in Consul, any write to the store is an answer. ErrTooLarge: the rows have more than MaxListing
	// bytes.
	List(ctx context.Context, c Consistency, prefix string, since uint64, wait time.Duration) (Listing, error)
}

// Reader is the part of a Store that installing needs.
type Reader interface {
	// Read returns a snapshot of up to MaxOps paths. An absent or unreadable path is no error: see State.
	//
	// A path that ends with a slash is a tree: the snapshot has every row below it, and no entry for the tree itself. Rows that the
	// caller may not read are left out, so an empty tree proves nothing: see MayRead. ErrTooLarge: the rows have more than
	// MaxListing bytes.
	Read(ctx context.Context, c Consistency, paths ...string) (Snapshot, error)
}

// Writer is the part of a Store that writes.
type Writer interface {
	// Commit applies all ops or none, in order, and returns the new Index of each written path. ErrConflict: a check failed, and
	// nothing was written. ErrUnknownOutcome: the ops may have been applied.
	Commit(ctx context.Context, ops []Op) (map[string]uint64, error)
}

// ReadAll reads any number of paths, MaxOps at a time. Only the rows of one Read are one snapshot.
func ReadAll(ctx context.Context, s Reader, c Consistency, paths ...string) (Snapshot, error) {
	all := make(Snapshot, len(paths))
	for some := range slices.Chunk(paths, MaxOps) {
		rows, err := s.Read(ctx, c, some...)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, rows)
	}
	return all, nil
}

// MayRead reports whether the caller may read below a folder. Consul does not tell an anonymous client that a list was filtered,
// but a transaction on a path that no key uses tells.
func MayRead(ctx context.Context, s Reader, dir string) (bool, error) {
	probe := dir + ".probe"
	rows, err := s.Read(ctx, Default, probe)
	return err == nil && rows[probe].State != Denied, err
}

// ACLs reports whether the store has ACLs enabled. Without them any token passes.
func ACLs(ctx context.Context, s Permissions) (bool, error) {
	_, err := s.Denied(ctx, NewID(), []string{"acls"}, nil)
	if errors.Is(err, ErrDenied) {
		return true, nil
	}
	return false, err
}
