package cli

import (
	"context"
	"errors"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// stopLine is a key that is frozen in the whole fleet.
type stopLine struct {
	Key    string     `json:"key"`
	Reason string     `json:"reason"`
	Since  *time.Time `json:"since,omitempty"` // nil: not known
}

// lockLine is a file that is frozen on one node.
type lockLine struct {
	Node   string     `json:"node"`
	File   string     `json:"file"` // as a node reported it, or the beginning of its hash
	Reason string     `json:"reason"`
	Since  *time.Time `json:"since,omitempty"` // nil: not known
	Until  *time.Time `json:"until,omitempty"` // nil: for ever
}

// frozen is what holds nodes back on purpose.
type frozen struct {
	Stops []stopLine `json:"stops"`
	Locks []lockLine `json:"locks"`
	// Hidden is why there may be more than these; "" if these are all.
	Hidden string `json:"hidden,omitempty"`
}

// frozenFor are the stop and the locks of one key.
func (s *session) frozenFor(ctx context.Context, roster fleet.Roster, standing fleet.Standing) (frozen, error) {
	f := frozen{Stops: []stopLine{}}
	if stopped := gate.NotStopped(standing.Key, standing.Stop); stopped != nil {
		since, _ := kv.FreezeTimes(standing.Stop.Flags)
		f.Stops = append(f.Stops, stopLine{Key: string(standing.Key), Reason: string(standing.Stop.Value), Since: known(since)})
	}
	files := filesOf(roster, string(standing.Key))
	err := s.addLocks(ctx, &f, func(hash string) (string, bool) {
		file, ok := files[hash]
		return file, ok
	})
	return f, err
}

// frozenAll are all stops and locks.
func (s *session) frozenAll(ctx context.Context, roster fleet.Roster) (frozen, error) {
	f := frozen{Stops: []stopLine{}}
	stops, err := s.freezer().Stops(ctx)
	if err := f.hide(err); err != nil {
		return f, err
	}
	for _, stop := range stops {
		f.Stops = append(f.Stops, stopLine{Key: string(stop.Key), Reason: stop.Reason, Since: known(stop.Since)})
	}
	files := filesOf(roster, "")
	err = s.addLocks(ctx, &f, func(hash string) (string, bool) {
		if file, ok := files[hash]; ok {
			return file, true
		}
		return short(hash) + "…", true
	})
	return f, err
}

// addLocks adds the locks that are in force, of those files that name knows.
func (s *session) addLocks(ctx context.Context, f *frozen, name func(hash string) (string, bool)) error {
	f.Locks = []lockLine{}
	locks, err := s.freezer().Locks(ctx)
	if err := f.hide(err); err != nil {
		return err
	}
	for _, lock := range locks {
		file, ok := name(lock.Hash)
		if !ok || !lock.Until.IsZero() && !lock.Until.After(time.Now()) {
			continue
		}
		f.Locks = append(f.Locks, lockLine{Node: lock.Node, File: file, Reason: lock.Reason, Since: known(lock.Since), Until: known(lock.Until)})
	}
	return nil
}

// hide takes an error that only says that there may be more.
func (f *frozen) hide(err error) error {
	if errors.Is(err, kv.ErrDenied) {
		f.Hidden = message(err)
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

// reportedPath resolves the hashes of files that nodes reported, as far as we may see
// them.
func (s *session) reportedPath(ctx context.Context) pathOf {
	reader := fleet.Reader{Store: s.plain, Layout: s.layout}
	roster, err := reader.Roster(ctx, 0, 0)
	if err != nil {
		s.debug("what nodes reported could not be read; files go by their hashes", err)
		return nil
	}
	files := filesOf(roster, "")
	return func(hash, _ string) string { return files[hash] }
}

// known is nil for a time that is not.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
