package cli

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

// frozen has the stops and locks that keep nodes from installing.
type frozen struct {
	Stops []hold.Stop `json:"stops"`
	Locks []lockRow   `json:"locks"`
	// Hidden says why there may be more; "": these are all.
	Hidden string `json:"hidden,omitempty"`
}

// frozenFor has the stop and the locks of one key.
func (s *session) frozenFor(ctx context.Context, roster fleet.Roster, live fleet.Live) (frozen, error) {
	f := frozen{Stops: []hold.Stop{}}
	var stopped *gate.Stopped
	if errors.As(gate.NotStopped(live.Key, live.Stop), &stopped) {
		f.Stops = append(f.Stops, hold.Stop{Key: stopped.Key, Reason: stopped.Reason, Since: stopped.Since, Index: stopped.Index})
	}
	return f, s.addLocks(ctx, &f, roster, string(live.Key))
}

// frozenAll has all stops and locks.
func (s *session) frozenAll(ctx context.Context, roster fleet.Roster) (frozen, error) {
	f := frozen{Stops: []hold.Stop{}}
	stops, _, err := s.freezer().Stops(ctx)
	if err := s.hide(&f, err); err != nil {
		return f, err
	}
	f.Stops = append(f.Stops, stops...)
	return f, s.addLocks(ctx, &f, roster, "")
}

// addLocks adds the active locks of the files of a key, or of all files for "".
func (s *session) addLocks(ctx context.Context, f *frozen, roster fleet.Roster, key string) error {
	f.Locks = []lockRow{}
	locks, err := s.freezer().Locks(ctx)
	if err := s.hide(f, err); err != nil {
		return err
	}
	files := filesOf(roster, key)
	for _, lock := range locks {
		row := rowOf(lock, roster, files, time.Now())
		if !row.Expired && (row.File != "" || key == "") {
			f.Locks = append(f.Locks, row)
		}
	}
	return nil
}

// hide turns an error that only means "there may be more" into Hidden.
func (s *session) hide(f *frozen, err error) error {
	if errors.Is(err, kv.ErrDenied) {
		f.Hidden = s.guide().Explain(err)
		return nil
	}
	return err
}

// filesOf has the reported files of a key, or of all keys for "", by the hash that locks have in the store.
func filesOf(roster fleet.Roster, key string) map[string]string {
	files := map[string]string{}
	for _, n := range roster.Nodes {
		for _, t := range n.Receipt.Targets {
			if key == "" || t.Key == key {
				files[kv.FileHash(t.File)] = t.File
			}
		}
	}
	return files
}

// keysOf has the keys of locked files, as far as receipts tell.
func keysOf(roster fleet.Roster, locks []hold.Lock) []kv.Key {
	locked, keys := map[string]bool{}, map[kv.Key]bool{}
	for _, l := range locks {
		locked[l.Hash] = true
	}
	for _, n := range roster.Nodes {
		for _, t := range n.Receipt.Targets {
			if k, err := kv.ParseKey(t.Key); err == nil && locked[kv.FileHash(t.File)] {
				keys[k] = true
			}
		}
	}
	return slices.Collect(maps.Keys(keys))
}

// reported has the receipts that the token can read. Without them, files go by their hashes.
func (s *session) reported(ctx context.Context) fleet.Roster {
	reader := s.reader(s.plain)
	roster, err := reader.Roster(ctx, 0, 0)
	s.debug("the receipts were not read; files go by their hashes", err)
	return roster
}
