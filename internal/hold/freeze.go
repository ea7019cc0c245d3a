// Package hold owns stop and resume of a key in the whole fleet, lock and unlock of a file
// on one node, and the events that tell who did what and why. Of this module it imports
// kv, atomicfile, safetext and wait.
package hold

import (
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

// Freezer sets and lifts stops and locks.
type Freezer struct {
	Store  kv.Store
	Layout kv.Layout
	Host   string // the operating system's host name of the node: locks go by it

	// Now is the clock that a stop and a lock note their beginning by. nil: time.Now.
	Now func() time.Time
	// By is who acts, for the event. Its Key is the one that a locked file is of, if
	// that is known.
	By Event
	// Replace lets a stop replace the reason of another one.
	Replace bool
	// Lost is told why an action left no event, see Recorder.
	Lost func(error)
}

// Stopped is what a stop came to.
type Stopped struct {
	Exists  bool // there is such a key
	Changed bool // it was not stopped before for this reason
}

// StoppedError is a stop that would replace the reason of another one.
type StoppedError struct{ Stop }

func (e *StoppedError) Error() string {
	by := ""
	if e.Who != "" {
		by = " by " + safetext.Line(e.Who, 0)
	}
	if !e.Since.IsZero() {
		by += " since " + e.Since.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s is stopped already%s: \"%s\"; --replace gives it the new reason, `kvexpress resume -k %[1]s` lifts it",
		e.Key, by, safetext.Line(e.Reason, 0))
}

// now is since when what is set now stands.
func (f Freezer) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

// Stop freezes a key in the whole fleet, and notes since when in the flags of the
// row (kv.FreezeFlags). A key that is stopped already for this reason stays as it is:
// Changed is false. For another reason, the error is a *StoppedError, unless f.Replace is
// set: then the stop begins anew. A key that is not published yet can be stopped too.
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

// Resume lifts the stop of a key. It returns the reason that stood, "" if the key was not
// stopped. In the same transaction it writes the checksum anew, stopped or not: the end of a
// stop wakes no Consul watch on that row. asleep: the token may not write the checksum.
func (f Freezer) Resume(ctx context.Context, k kv.Key) (was string, asleep bool, err error) {
	f.By.Key = k
	was, err = f.lift(ctx, ActionResume, f.Layout.Stop(k), f.Layout.Checksum(k))
	switch {
	case errors.Is(err, kv.ErrDenied):
		was, err = f.lift(ctx, ActionResume, f.Layout.Stop(k), "")
		asleep = err == nil
	case errors.Is(err, kv.ErrConflict):
		err = fmt.Errorf("%s: publishers kept writing it; run the command again: %w", k, err)
	}
	return was, asleep, err
}

// Lock freezes a file, an absolute path, on the node f.Host, until a time (at most
// kv.MaxFreeze) or, if that is zero, for ever. Since when, and until when, is in the
// flags of the row (kv.FreezeFlags), which 1.x ignores: for it the file is locked
// until somebody unlocks it. Set again, a lock begins anew. It returns the reason that
// stood, "" if the file was not locked.
func (f Freezer) Lock(ctx context.Context, file, reason string, until time.Time) (was string, err error) {
	if err := checkReason(reason); err != nil {
		return "", err
	}
	flags, ok := kv.FreezeFlags(f.now(), until)
	if !ok {
		return "", fmt.Errorf("%w: %s is not between 1970 and %s; without an end it holds until `kvexpress unlock -f %s`",
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

// Unlock lifts the lock of a file on the node f.Host. It returns the reason that stood,
// "" if the file was not locked.
func (f Freezer) Unlock(ctx context.Context, file string) (was string, err error) {
	f.By.Node, f.By.File = f.Host, file
	return f.lift(ctx, ActionUnlock, f.Layout.Lock(file, f.Host), "")
}

// lift removes a row. wake, if set, is one that is written anew, so that watches on it return.
func (f Freezer) lift(ctx context.Context, action, path, wake string) (was string, err error) {
	paths := []string{path}
	if wake != "" {
		paths = append(paths, wake)
	}
	did, err := f.act(ctx, action, "", paths, func(rows kv.Snapshot) (ops []kv.Op, err error) {
		row, other := rows[path], rows[wake]
		if row.State == kv.Denied {
			return nil, unreadable(path)
		}
		if wake != "" && other.State == kv.Denied {
			return nil, unreadable(wake)
		}
		if row.State == kv.Present {
			was = row.Reason()
			ops = append(ops, kv.Op{Verb: kv.Delete, Path: path})
		}
		if other.State == kv.Present { // to set what stands would change nothing
			ops = append(ops, kv.Op{Verb: kv.CheckIndex, Path: wake, Index: other.Index}, kv.Op{Verb: kv.Delete, Path: wake},
				kv.Op{Verb: kv.Set, Path: wake, Value: other.Value, Flags: other.Flags})
		}
		return ops, nil
	})
	if !did {
		was = "" // or somebody else lifted it in between
	}
	return was, err
}

// act does an action, with its event.
func (f Freezer) act(ctx context.Context, action, reason string, paths []string,
	decide func(kv.Snapshot) ([]kv.Op, error)) (did bool, err error) {
	e := f.By
	e.Time, e.Action, e.Reason = f.now(), action, reason
	return f.recorder().Do(ctx, e, paths, decide)
}

func (f Freezer) recorder() Recorder {
	return Recorder{Store: f.Store, Layout: f.Layout, Lost: f.Lost}
}

func unreadable(path string) error {
	return fmt.Errorf("%s may not be read: %w", path, kv.ErrDenied)
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
