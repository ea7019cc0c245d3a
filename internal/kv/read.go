package kv

import (
	"context"
	"maps"
	"slices"
)

// ReadAll reads any number of paths, MaxOps at a time: only those of one Read are of one
// moment.
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

// MayRead reports whether what is below a folder may be read. A list leaves rows out
// without a word where there is no token; a transaction tells, of a path that no key, file
// or node has.
func MayRead(ctx context.Context, s Reader, dir string) (bool, error) {
	probe := dir + ".probe"
	rows, err := s.Read(ctx, Default, probe)
	return err == nil && rows[probe].State != Denied, err
}
