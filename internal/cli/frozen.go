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

// frozen is what holds nodes back on purpose.
type frozen struct {
	Stops []hold.Stop `json:"stops"`
	Locks []lockRow   `json:"locks"`
	// Hidden is why there may be more than these; "" if these are all.
	Hidden string `json:"hidden,omitempty"`
}

// frozenFor are the stop and the locks of one key.
func (s *session) frozenFor(ctx context.Context, roster fleet.Roster, standing fleet.Standing) (frozen, error) {
	f := frozen{Stops: []hold.Stop{}}
	var stopped *gate.Stopped
	if errors.As(gate.NotStopped(standing.Key, standing.Stop), &stopped) {
		f.Stops = append(f.Stops, hold.Stop{Key: stopped.Key, Reason: stopped.Reason, Since: stopped.Since, Index: stopped.Index})
	}
	return f, s.addLocks(ctx, &f, roster, string(standing.Key))
}

// frozenAll are all stops and locks.
func (s *session) frozenAll(ctx context.Context, roster fleet.Roster) (frozen, error) {
	f := frozen{Stops: []hold.Stop{}}
	stops, _, err := s.freezer().Stops(ctx)
	if err := s.hide(&f, err); err != nil {
		return f, err
	}
	f.Stops = append(f.Stops, stops...)
	return f, s.addLocks(ctx, &f, roster, "")
}

// addLocks adds the locks that are in force; with a key, those of its files.
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

// hide takes an error that only says that there may be more.
func (s *session) hide(f *frozen, err error) error {
	if errors.Is(err, kv.ErrDenied) {
		f.Hidden = s.guide().Explain(err)
		return nil
	}
	return err
}

// filesOf are the files that nodes reported, for a key or, without one, for all, by
// the hash under which the store knows them.
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

// keysOf are the keys that locked files may be of.
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

// reported is what nodes reported, as far as we may see it.
func (s *session) reported(ctx context.Context) fleet.Roster {
	reader := fleet.Reader{Store: s.plain, Layout: s.layout}
	roster, err := reader.Roster(ctx, 0, 0)
	s.debug("what nodes reported could not be read; files go by their hashes", err)
	return roster
}
