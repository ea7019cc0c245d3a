// Package freeze owns the switches that hold files still: stop and resume of a
// key in the whole fleet, lock and unlock of one file on one node. Of this module
// it imports kv and atomicfile.
package freeze

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"kvexpress/internal/kv"
)

// ErrReason is a reason that is not stored.
var ErrReason = errors.New("the reason is not allowed")

// ErrUntil is an end that a lock cannot have.
var ErrUntil = errors.New("the end of the lock is not allowed")

// Freezer sets and lifts stops and locks.
type Freezer struct {
	Store  kv.Store
	Layout kv.Layout
	Host   string // the operating system's host name of the node: locks go by it

	// Now is the clock that a stop and a lock note their beginning by. nil: time.Now.
	Now func() time.Time
}

// now is since when what is set now stands.
func (f Freezer) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

// Stop freezes a key in the whole fleet, and notes since when in the flags of the
// row (kv.FreezeFlags); set again, it begins anew. It reports whether there is such a key:
// one that is not published yet can be stopped too.
func (f Freezer) Stop(ctx context.Context, k kv.Key, reason string) (exists bool, err error) {
	if err := checkReason(reason); err != nil {
		return false, err
	}
	s, err := f.Store.Read(ctx, kv.Default, f.Layout.Checksum(k))
	if err != nil {
		return false, err
	}
	flags, _ := kv.FreezeFlags(f.now(), time.Time{})
	err = f.commit(ctx, kv.Op{Verb: kv.Set, Path: f.Layout.Stop(k), Value: []byte(reason), Flags: flags})
	return s[f.Layout.Checksum(k)].State != kv.Absent, err
}

// Resume lifts the stop of a key. It returns the reason that stood, "" if the key was not
// stopped. In the same transaction it writes the checksum anew, stopped or not: the end of a
// stop wakes no Consul watch on that row. asleep: the token may not write the checksum.
func (f Freezer) Resume(ctx context.Context, k kv.Key) (was string, asleep bool, err error) {
	stop, checksum := f.Layout.Stop(k), f.Layout.Checksum(k)
	for range maxTries {
		rows, err := f.Store.Read(ctx, kv.Default, stop, checksum)
		if err != nil {
			return "", false, err
		}
		if rows[stop].State == kv.Denied {
			return "", false, unreadable(stop)
		}
		was = cmp.Or(rows[stop].Reason(), was)
		lift, sum := kv.Op{Verb: kv.Delete, Path: stop}, rows[checksum]
		err = kv.ErrDenied
		switch sum.State {
		case kv.Absent:
			return was, false, f.commit(ctx, lift)
		case kv.Present: // to set what stands would change nothing
			err = f.commit(ctx, lift, kv.Op{Verb: kv.CheckIndex, Path: checksum, Index: sum.Index},
				kv.Op{Verb: kv.Delete, Path: checksum}, kv.Op{Verb: kv.Set, Path: checksum, Value: sum.Value, Flags: sum.Flags})
		}
		switch {
		case errors.Is(err, kv.ErrDenied):
			return was, true, f.commit(ctx, lift)
		case !errors.Is(err, kv.ErrConflict):
			return was, false, err
		}
	}
	return was, false, fmt.Errorf("%s: publishers kept writing it; run the command again: %w", k, kv.ErrConflict)
}

// maxTries is how often a transaction is tried that others come before.
const maxTries = 10

func unreadable(path string) error {
	return fmt.Errorf("%s may not be read: %w; `kvexpress acl operator -k KEY` prints the policy that is needed", path, kv.ErrDenied)
}

// Lock freezes a file, an absolute path, on the node f.Host, until a time (at most
// kv.MaxFreeze) or, if that is zero, for ever. Since when, and until when, is in the
// flags of the row (kv.FreezeFlags), which 1.x ignores: for it the file is locked
// until somebody unlocks it. Set again, a lock begins anew.
func (f Freezer) Lock(ctx context.Context, file, reason string, until time.Time) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	flags, ok := kv.FreezeFlags(f.now(), until)
	if !ok {
		return fmt.Errorf("%w: %s is not between 1970 and %s; without an end it holds until `kvexpress unlock`",
			ErrUntil, until.UTC().Format(time.RFC3339), kv.MaxFreeze().UTC().Format(time.RFC3339))
	}
	return f.commit(ctx, kv.Op{Verb: kv.Set, Path: f.Layout.Lock(file, f.Host), Value: []byte(reason), Flags: flags})
}

// Unlock lifts the lock of a file on the node f.Host. It returns the reason that stood,
// "" if the file was not locked.
func (f Freezer) Unlock(ctx context.Context, file string) (was string, err error) {
	path := f.Layout.Lock(file, f.Host)
	s, err := f.Store.Read(ctx, kv.Default, path)
	if err != nil {
		return "", err
	}
	row := s[path]
	switch row.State {
	case kv.Absent:
		return "", nil
	case kv.Denied:
		return "", unreadable(path)
	}
	if err := f.commit(ctx, kv.Op{Verb: kv.Delete, Path: path}); err != nil {
		return "", err
	}
	return row.Reason(), nil
}

// commit repeats a write of unknown outcome once: to set or delete a row twice
// does no harm.
func (f Freezer) commit(ctx context.Context, ops ...kv.Op) error {
	_, err := f.Store.Commit(ctx, ops)
	if errors.Is(err, kv.ErrUnknownOutcome) && ctx.Err() == nil {
		_, err = f.Store.Commit(ctx, ops)
	}
	return err
}

func checkReason(reason string) error {
	switch {
	case reason == "":
		return fmt.Errorf("%w: it is empty; give one with -r", ErrReason)
	case len(reason) > kv.MaxReason:
		return fmt.Errorf("%w: it has %d bytes, at most %d are kept", ErrReason, len(reason), kv.MaxReason)
	case !utf8.ValidString(reason):
		return fmt.Errorf("%w: it is not valid UTF-8", ErrReason)
	}
	return nil
}
