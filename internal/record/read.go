package record

import (
	"context"
	"fmt"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/wait"
)

// Query says how to read a key, and what else to read in the same request.
type Query struct {
	Consistency kv.Consistency
	Also        []string // more paths, up to kv.MaxOps-4
	// Accept, if set, judges the rows before the data is decoded. Its error ends the read.
	Accept func(kv.Snapshot) error
	Once   bool // do not wait for a writer of 1.x
	// Wait waits for a writer of 1.x, until the time has passed or ctx ends, then with its
	// error. nil: a timer.
	Wait func(context.Context, time.Duration) error
}

// TornWaits are the times to give a writer of 1.x, which puts data and checksum one after
// the other: a Torn version is read again after each.
func TornWaits() []time.Duration {
	return []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 400 * time.Millisecond}
}

// Read reads data, checksum, manifest and stop of a key in one request, and verifies them.
// The rows are one snapshot; the caller judges the stop (gate.NotStopped). Errors are
// those of the store, of q.Accept and of Verify.
func Read(ctx context.Context, s kv.Reader, l kv.Layout, k kv.Key, q Query) (v Live, rows kv.Snapshot, err error) {
	waits := TornWaits()
	if q.Once {
		waits = nil
	}
	data, checksum, manifest := l.Data(k), l.Checksum(k), l.Manifest(k)
	paths := append([]string{data, checksum, manifest, l.Stop(k)}, q.Also...)
	err = wait.Again(ctx, q.Wait, waits, func() (torn bool, err error) {
		if rows, err = s.Read(ctx, q.Consistency, paths...); err != nil {
			return false, err
		}
		if q.Accept != nil {
			if err := q.Accept(rows); err != nil {
				return false, err
			}
		}
		for _, path := range paths[:3] {
			if rows[path].State == kv.Denied {
				return false, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
			}
		}
		v, err = Verify(k, rows[data], rows[checksum], rows[manifest])
		return v.Torn, err
	})
	return v, rows, err
}
