package kv

import (
	"context"
	"errors"
	"maps"
	"slices"
)

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
