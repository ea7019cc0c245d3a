// Package freeze owns the switches that hold files still: stop and resume of a
// key in the whole fleet, lock and unlock of one file on one node. Of this module
// it imports kv and atomicfile.
package freeze

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// MaxReason is the longest reason, in bytes.
const MaxReason = 4 << 10

// ErrReason is a reason that is not stored.
var ErrReason = errors.New("the reason is not allowed")

// Freezer sets and lifts stops and locks.
type Freezer struct {
	Store  kv.Store
	Layout kv.Layout
	Host   string // the operating system's host name: locks go by it
}

// Stop freezes a key in the whole fleet. It reports whether there is such a key:
// one that is not published yet can be stopped too.
func (f Freezer) Stop(ctx context.Context, k kv.Key, reason string) (exists bool, err error) {
	if err := checkReason(reason); err != nil {
		return false, err
	}
	s, err := f.Store.Read(ctx, kv.Default, f.Layout.Checksum(k))
	if err != nil {
		return false, err
	}
	err = f.commit(ctx, kv.Op{Verb: kv.Set, Path: f.Layout.Stop(k), Value: []byte(reason)})
	return s[f.Layout.Checksum(k)].State != kv.Absent, err
}

// Resume lifts the stop of a key. It returns the reason that stood, "" if the key
// was not stopped.
func (f Freezer) Resume(ctx context.Context, k kv.Key) (was string, err error) {
	return f.lift(ctx, f.Layout.Stop(k))
}

// Lock freezes a file, an absolute path, on this node, until a time or, if that
// is zero, for ever. The time is kept in the flags of the row, in Unix seconds,
// which 1.x ignores: for it the file is locked until somebody unlocks it.
func (f Freezer) Lock(ctx context.Context, file, reason string, until time.Time) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	op := kv.Op{Verb: kv.Set, Path: f.Layout.Lock(file, f.Host), Value: []byte(reason)}
	if !until.IsZero() {
		op.Flags = uint64(until.Unix())
	}
	return f.commit(ctx, op)
}

// Unlock lifts the lock of a file on this node. It returns the reason that stood,
// "" if the file was not locked.
func (f Freezer) Unlock(ctx context.Context, file string) (was string, err error) {
	return f.lift(ctx, f.Layout.Lock(file, f.Host))
}

func (f Freezer) lift(ctx context.Context, path string) (was string, err error) {
	s, err := f.Store.Read(ctx, kv.Default, path)
	if err != nil {
		return "", err
	}
	row := s[path]
	switch row.State {
	case kv.Absent:
		return "", nil
	case kv.Denied:
		return "", fmt.Errorf("%s may not be read: %w; `kvexpress acl operator -k KEY` prints the policy that is needed", path, kv.ErrDenied)
	}
	if err := f.commit(ctx, kv.Op{Verb: kv.Delete, Path: path}); err != nil {
		return "", err
	}
	return string(row.Value), nil
}

// commit repeats a write of unknown outcome once: to set or delete a row twice
// does no harm.
func (f Freezer) commit(ctx context.Context, op kv.Op) error {
	_, err := f.Store.Commit(ctx, []kv.Op{op})
	if errors.Is(err, kv.ErrUnknownOutcome) && ctx.Err() == nil {
		_, err = f.Store.Commit(ctx, []kv.Op{op})
	}
	return err
}

func checkReason(reason string) error {
	switch {
	case reason == "":
		return fmt.Errorf("%w: it is empty; give one with -r", ErrReason)
	case len(reason) > MaxReason:
		return fmt.Errorf("%w: it has %d bytes, at most %d are kept", ErrReason, len(reason), MaxReason)
	case !utf8.ValidString(reason):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrReason)
	}
	return nil
}
