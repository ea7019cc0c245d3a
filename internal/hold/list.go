package hold

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
)

// Lock is a file that is locked on a node. An expired one stays in the store until it is removed or set again: see Until.
type Lock struct {
	Hash   string `json:"hash"`          // kv.FileHash of the file: its path itself is not in the store
	Node   string `json:"node"`          // as it is stored: not safe to print
	Reason string `json:"reason"`        // the same
	Who    string `json:"who,omitempty"` // the same; "": not known
	// Since is when it was set, and Until when it ends by itself, by the clock of the
	// machine that set it. Zero: unknown, and never.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	Index uint64    `json:"index"` // of the row
}

// Stop is a key that is stopped.
type Stop struct {
	Key    kv.Key    `json:"key"`
	Reason string    `json:"reason"`         // as it is stored: not safe to print
	Who    string    `json:"who,omitempty"`  // the same; "": not known
	Since  time.Time `json:"since,omitzero"` // by the clock of the machine that set it; zero: unknown
	Index  uint64    `json:"index"`          // of the row
}

// PartialError says that a list has only the rows that the token can read. It wraps kv.ErrDenied.
type PartialError struct {
	Below string // the folder, with a slash at the end
}

func (e *PartialError) Error() string {
	return fmt.Sprintf("not all rows below %s can be read: %v", e.Below, kv.ErrDenied)
}

// Unwrap makes errors.Is find kv.ErrDenied.
func (e *PartialError) Unwrap() error { return kv.ErrDenied }

// Locks lists the locks of all files on all nodes, in the order of their paths. The
// error wraps kv.ErrDenied if the token cannot read all of them: no lock is ever left out.
func (f Freezer) Locks(ctx context.Context) ([]Lock, error) {
	dir := f.Layout.LocksDir()
	all, err := f.Store.List(ctx, kv.Default, dir, 0, 0)
	if err != nil {
		return nil, err
	}
	may, err := kv.MayRead(ctx, f.Store, dir)
	if err != nil {
		return nil, err
	}
	if all.Filtered || !may {
		return nil, &PartialError{Below: dir}
	}
	var locks []Lock
	for _, row := range all.Rows {
		hash, node, ok := f.Layout.LockOf(row.Path)
		if !ok || len(row.Value) == 0 {
			continue // another program's, or no lock
		}
		since, until := kv.FreezeTimes(row.Flags)
		node = safetext.Cut(node, kv.MaxNodeLen)
		locks = append(locks, Lock{Hash: hash, Node: node, Reason: row.Reason(), Since: since, Until: until, Index: row.Index})
	}
	return locks, nil
}

// Stops lists the stopped keys, in the order of their names. With a *PartialError it returns the ones that the token can read.
// Any other error comes without a list; it wraps kv.ErrDenied if keys may be hidden and none shows, or if an existing stop cannot
// be read. left are the folders of kv.Keys.Left. The rows are read kv.MaxOps at a time, so they are not one snapshot.
func (f Freezer) Stops(ctx context.Context) (stops []Stop, left []string, err error) {
	below := f.Layout.Prefix() + "/"
	found, err := kv.ListKeys(ctx, f.Store, f.Layout)
	if err != nil {
		return nil, nil, err
	}
	// The stop of every key is read, because a list leaves out a stop that the token cannot read.
	keys := slices.Sorted(maps.Keys(found.Rows))
	may, err := kv.MayRead(ctx, f.Store, below)
	if err != nil {
		return nil, nil, err
	}
	partial := !may
	if partial && len(keys) == 0 {
		return nil, nil, fmt.Errorf("no key below %s can be read: %w", below, kv.ErrDenied)
	}
	var paths []string
	for _, k := range keys {
		paths = append(paths, f.Layout.Stop(k))
	}
	rows, err := kv.ReadAll(ctx, f.Store, kv.Default, paths...)
	if err != nil {
		return nil, nil, err
	}
	stopped := slices.DeleteFunc(slices.Clone(keys), func(k kv.Key) bool { return len(rows[f.Layout.Stop(k)].Value) == 0 })
	past, err := f.Read(ctx, stopped...)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range keys {
		row := rows[f.Layout.Stop(k)]
		switch {
		case row.State == kv.Denied && slices.Contains(found.Rows[k], "stop"):
			return nil, nil, fmt.Errorf("the stop of %s cannot be read: %w", k, kv.ErrDenied)
		case row.State == kv.Denied:
			partial = true
		case len(row.Value) > 0:
			stops = append(stops, stopOf(k, row, past[k]))
		}
	}
	if partial {
		return stops, found.Left, &PartialError{Below: below}
	}
	return stops, found.Left, nil
}

// stopOf is the stop in a row. The events of its key tell who set it.
func stopOf(k kv.Key, row kv.Entry, past []Event) Stop {
	since, _ := kv.FreezeTimes(row.Flags)
	s := Stop{Key: k, Reason: row.Reason(), Since: since, Index: row.Index}
	// A stop of 1.x has no time, and one that was replaced has another.
	for _, e := range past {
		if e.Action == ActionStop && e.Time.Equal(since) {
			s.Who = e.Who
			break
		}
	}
	return s
}

// WhoLocked adds who set the locks. It finds that in the events of these keys, if the token can read them.
func (f Freezer) WhoLocked(ctx context.Context, locks []Lock, keys ...kv.Key) error {
	past, err := f.Read(ctx, append(keys, NodeEvents)...)
	if err != nil {
		return err
	}
	type set struct {
		hash, node string
		since      int64
	}
	who := map[set]string{}
	for _, all := range past {
		for _, e := range all {
			if e.Action == ActionLock {
				who[set{kv.FileHash(e.File), e.Node, e.Time.Unix()}] = e.Who
			}
		}
	}
	for i, l := range locks {
		locks[i].Who = who[set{l.Hash, l.Node, l.Since.Unix()}]
	}
	return nil
}
