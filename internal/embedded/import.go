package embedded

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"kvexpress/internal/kv"
)

// ImportStep is one step of an import: a transaction, or one row that is too large for a transaction.
type ImportStep struct {
	Rows []kv.Row
	Put  bool // a single row that only kv.Store.Put can write
}

// Ops returns the step as a transaction.
func (w ImportStep) Ops() []kv.Op {
	ops := make([]kv.Op, len(w.Rows))
	for i, row := range w.Rows {
		ops[i] = kv.Op{Verb: kv.Set, Path: row.Path, Value: row.Value, Flags: row.Flags}
	}
	return ops
}

// PlanImport orders rows into steps, so that nodes that watch the store never see parts of two versions:
//
//   - Locks come first, so that no node overwrites a locked file.
//   - Then all rows that do not belong to a key of kvexpress, such as receipts.
//   - All rows of one key, with its stop and history, are in one transaction. If they are too large, the history comes first, one
//     transaction for each version, then data, checksum, manifest and stop. Only data from 1.x can be too large for that as well:
//     it comes before the checksum. Until the checksum follows, nodes see a mismatch and install nothing.
//
// Paths alone decide which rows belong together, so it works under any prefix.
func PlanImport(rows []kv.Row) []ImportStep {
	groups := map[string]*group{}
	var order []*group
	for _, row := range rows {
		name, rank, part := placeOf(row.Path)
		g := groups[name]
		if g == nil {
			g = &group{name: name, rank: rank, past: map[string][]kv.Row{}}
			groups[name] = g
			order = append(order, g)
		}
		if part == "" {
			g.live = append(g.live, row)
		} else {
			g.past[part] = append(g.past[part], row)
		}
	}
	slices.SortStableFunc(order, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.name, b.name))
	})
	var steps []ImportStep
	for _, g := range order {
		for _, unit := range g.units() {
			if last := len(steps) - 1; last >= 0 && fits(slices.Concat(steps[last].Rows, unit)) {
				steps[last].Rows = slices.Concat(steps[last].Rows, unit)
				continue
			}
			steps = append(steps, ImportStep{Rows: unit, Put: !fits(unit)}) // a unit that does not fit is a single row: see split
		}
	}
	return steps
}

// group is the rows of a key, or a single other row.
type group struct {
	name string
	rank int
	live []kv.Row
	past map[string][]kv.Row // the history, by the version in the path
}

// The ranks of groups.
const (
	rankLock = iota
	rankOther
	rankKey
)

// placeOf returns the group of a path, and the past version if the path belongs to one.
func placeOf(path string) (name string, rank int, version string) {
	if prefix, rest, ok := strings.Cut(path, "/.history/"); ok {
		rest, row := cutLast(rest)
		key, number := cutLast(rest)
		if key != "" && (row == "data" || row == "manifest" || row == "pending") {
			return prefix + "/" + key + "/", rankKey, number
		}
	}
	dir, row := cutLast(path)
	if folder, hash := cutLast(dir); kv.IsSHA256(hash) && (folder == "locks" || strings.HasSuffix(folder, "/locks")) {
		return path, rankLock, ""
	}
	if dir != "" && slices.Contains(kv.KeyRows(), row) {
		return dir + "/", rankKey, ""
	}
	return path, rankOther, ""
}

// cutLast cuts at the last slash; without one, the whole path is the last part.
func cutLast(path string) (before, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// units returns the rows of a group in the order of writing. Rows of one unit must be in one transaction.
func (g *group) units() [][]kv.Row {
	versions := slices.SortedFunc(maps.Keys(g.past), func(a, b string) int { // as numbers
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	var all []kv.Row
	for _, version := range versions {
		all = append(all, g.past[version]...)
	}
	if all = append(all, g.live...); fits(all) {
		return [][]kv.Row{all}
	}
	var units [][]kv.Row
	for _, version := range versions {
		units = append(units, split(g.past[version])...)
	}
	return append(units, split(g.live)...)
}

// split returns rows as one unit if they fit into a transaction. Else each data comes alone, before the rest.
func split(rows []kv.Row) [][]kv.Row {
	if fits(rows) {
		return [][]kv.Row{rows}
	}
	var alone, rest []kv.Row
	for _, row := range rows {
		if _, last := cutLast(row.Path); last == "data" {
			alone = append(alone, row)
		} else {
			rest = append(rest, row)
		}
	}
	if !fits(rest) { // not written by kvexpress: its checksums and manifests have a few hundred bytes
		alone, rest = append(alone, rest...), nil
	}
	units := slices.Collect(slices.Chunk(alone, 1))
	if rest != nil {
		units = append(units, rest)
	}
	return units
}

// sizeOf is the largest possible size of a row in the body of a transaction, in bytes.
func sizeOf(row kv.Row) int {
	name := len(row.Path)
	if b, err := json.Marshal(row.Path); err == nil { // it is always valid
		name = len(b)
	}
	return opSize + name + base64.StdEncoding.EncodedLen(len(row.Value))
}

func fits(rows []kv.Row) bool {
	size := 0
	for _, row := range rows {
		size += sizeOf(row)
	}
	return len(rows) <= kv.MaxOps && size <= kv.MaxTxnBody
}
