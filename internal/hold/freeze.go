// Package hold owns stop and resume of a key in the whole fleet, lock and unlock of a file on one node, and the events that
// record who did it and why. Of this module it imports kv, atomicfile, safetext and wait.
package hold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// ErrReason is a reason that is not stored.
var ErrReason = errors.New("the reason is not allowed")

// ErrUntil is an end that a lock cannot have.
var ErrUntil = errors.New("the end of the lock is not allowed")

// Freezer sets and removes stops and locks.
type Freezer struct {
	Recorder
	Host string // the operating system's host name of the node: locks go by it

	// By is the author of the event, and the time of a stop and a lock (zero: now). Its Key is the
	// key of a locked file, if it is known.
	By Event
	// Replace lets a stop replace the reason of another one.
	Replace bool
	// Seen, if set, may refuse to remove a stop or a lock with this reason; "": there is none.
	Seen func(reason string) error
}

// Stopped is the result of a stop.
type Stopped struct {
	Exists  bool // there is such a key
	Changed bool // it was not stopped for this reason before
}

// StoppedError is a stop that would replace another reason.
type StoppedError struct{ Stop }

func (e *StoppedError) Error() string {
	by := ""
	if e.Who != "" {
		by = " by " + safetext.Line(e.Who, 0)
	}
	if !e.Since.IsZero() {
		by += " since " + e.Since.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s is already stopped%s: \"%s\"; to replace the reason: --replace; to undo: `kvexpress resume -k %[1]s`",
		e.Key, by, safetext.Line(e.Reason, 0))
}

func (f Freezer) now() time.Time { return cmp.Or(f.By.Time, time.Now()) }

// Stop freezes a key in the whole fleet. The time is in the flags of the row (kv.FreezeFlags). If the key is already stopped for
// this reason, nothing changes. If it is stopped for another reason, the error is a *StoppedError; with f.Replace the stop begins
// again. A key that is not published yet can be stopped too.
func (f Freezer) Stop(ctx context.Context, k kv.Key, reason string) (done Stopped, err error) {
	if err := checkReason(reason); err != nil {
		return done, err
	}
	flags, _ := kv.FreezeFlags(f.now(), time.Time{})
	path, checksum, past := f.Layout.Stop(k), f.Layout.Checksum(k), f.Layout.Events(k)
	f.By.Key = k
	done.Changed, err = f.act(ctx, ActionStop, reason, []string{path, checksum}, func(rows kv.Snapshot) ([]kv.Op, error) {
		done.Exists = rows[checksum].State != kv.Absent
		row := rows[path]
		switch {
		case row.State == kv.Denied:
			return nil, unreadable(path)
		case string(row.Value) == reason:
			return nil, nil
		case len(row.Value) > 0 && !f.Replace:
			all, _ := ParseEvents(rows[past].Value)
			return nil, &StoppedError{stopOf(k, row, all)}
		}
		return []kv.Op{{Verb: kv.CheckAndSet, Path: path, Value: []byte(reason), Flags: flags, Index: row.Index}}, nil
	})
	return done, err
}

// Resume removes the stop of a key. It returns its reason, "" if the key was not
// stopped. In the same transaction it writes the checksum again, stopped or not: the end of a
// stop wakes no Consul watch on that row. asleep: the token cannot write the checksum. The reason may be empty.
func (f Freezer) Resume(ctx context.Context, k kv.Key, reason string) (was string, asleep bool, err error) {
	if reason != "" {
		if err := checkReason(reason); err != nil {
			return "", false, err
		}
	}
	f.By.Key, f.By.Reason = k, reason
	was, err = f.remove(ctx, ActionResume, f.Layout.Stop(k), f.Layout.Checksum(k))
	switch {
	case errors.Is(err, kv.ErrDenied):
		was, err = f.remove(ctx, ActionResume, f.Layout.Stop(k), "")
		asleep = err == nil
	case errors.Is(err, kv.ErrConflict):
		err = fmt.Errorf("%s: publishers kept writing it; run the same command again: %w", k, err)
	}
	return was, asleep, err
}

// Lock freezes a file, an absolute path, on the node f.Host, until a time (at most kv.MaxFreeze) or, if that is zero, for ever.
// Both times are in the flags of the row (kv.FreezeFlags). 1.x ignores them: for it the file stays locked until it is unlocked. A
// second lock begins again. It returns the reason of the first, "" if the file was not locked.
func (f Freezer) Lock(ctx context.Context, file, reason string, until time.Time) (was string, err error) {
	if err := checkReason(reason); err != nil {
		return "", err
	}
	flags, ok := kv.FreezeFlags(f.now(), until)
	if !ok {
		return "", fmt.Errorf("%w: %s is not between 1970 and %s; without an end it lasts until `kvexpress unlock -f %s`",
			ErrUntil, until.UTC().Format(time.RFC3339), kv.MaxFreeze().UTC().Format(time.RFC3339), file)
	}
	path := f.Layout.Lock(file, f.Host)
	f.By.Node, f.By.File = f.Host, file
	sent := false
	_, err = f.act(ctx, ActionLock, reason, []string{path}, func(rows kv.Snapshot) ([]kv.Op, error) {
		row := rows[path]
		if sent && string(row.Value) == reason && row.Flags == flags {
			return nil, nil // the outcome was unknown
		}
		was, sent = row.Reason(), true
		return []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(reason), Flags: flags}}, nil
	})
	return was, err
}

// Unlock removes the lock of a file on the node f.Host. It returns its reason, "" if the file was not locked.
func (f Freezer) Unlock(ctx context.Context, file string) (was string, err error) {
	f.By.Node, f.By.File = f.Host, file
	return f.remove(ctx, ActionUnlock, f.Layout.Lock(file, f.Host), "")
}

// remove removes a row. wake, if set, is a row that is written again, so that watches on it return.
func (f Freezer) remove(ctx context.Context, action, path, wake string) (was string, err error) {
	paths := []string{path}
	if wake != "" {
		paths = append(paths, wake)
	}
	did, err := f.act(ctx, action, f.By.Reason, paths, func(rows kv.Snapshot) (ops []kv.Op, err error) {
		row, other := rows[path], rows[wake]
		if row.State == kv.Denied {
			return nil, unreadable(path)
		}
		if wake != "" && other.State == kv.Denied {
			return nil, unreadable(wake)
		}
		if f.Seen != nil {
			if err := f.Seen(row.Reason()); err != nil {
				return nil, err
			}
		}
		if row.State == kv.Present {
			was = row.Reason()
			ops = append(ops, kv.Op{Verb: kv.CheckIndex, Path: path, Index: row.Index}, kv.Op{Verb: kv.Delete, Path: path})
		}
		if other.State == kv.Present { // the same value again would wake no watch
			ops = append(ops, kv.Op{Verb: kv.CheckIndex, Path: wake, Index: other.Index}, kv.Op{Verb: kv.Delete, Path: wake},
				kv.Op{Verb: kv.Set, Path: wake, Value: other.Value, Flags: other.Flags})
		}
		return ops, nil
	})
	if !did {
		was = "" // or another process removed it first
	}
	return was, err
}

// act commits an action, with its event.
func (f Freezer) act(ctx context.Context, action, reason string, paths []string,
	decide func(kv.Snapshot) ([]kv.Op, error)) (did bool, err error) {
	e := f.By
	e.Time, e.Action, e.Reason = f.now(), action, reason
	return f.Do(ctx, e, paths, decide)
}

func unreadable(path string) error {
	return fmt.Errorf("%s cannot be read: %w", path, kv.ErrDenied)
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
