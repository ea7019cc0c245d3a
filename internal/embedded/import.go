package embedded

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"math"
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
func PlanImport(rows []kv.Row) (steps []ImportStep) {
	places := make(map[string]place, len(rows))
	for _, row := range rows {
		places[row.Path] = placeOf(row.Path)
	}
	rows = slices.SortedStableFunc(slices.Values(rows), func(a, b kv.Row) int { return places[a.Path].compare(places[b.Path]) })
	units := split(rows,
		func(path string) string { return places[path].name },
		func(path string) string { return places[path].version },
		func(path string) string { return places[path].data },
		func(path string) string { return path }) // not written by kvexpress: its checksums and manifests have a few hundred bytes
	for _, unit := range units {
		if last := len(steps) - 1; last >= 0 && fits(slices.Concat(steps[last].Rows, unit)) {
			steps[last].Rows = slices.Concat(steps[last].Rows, unit)
			continue
		}
		steps = append(steps, ImportStep{Rows: unit, Put: !fits(unit)}) // a unit that does not fit is a single row
	}
	return steps
}

// split returns rows as one unit if they fit into a transaction. Else it cuts them where the first key changes, and each part by
// the other keys.
func split(rows []kv.Row, keys ...func(path string) string) (units [][]kv.Row) {
	if len(keys) == 0 || fits(rows) {
		return [][]kv.Row{rows}
	}
	key, others := keys[0], keys[1:]
	for len(rows) > 0 {
		of, n := key(rows[0].Path), 1
		for n < len(rows) && key(rows[n].Path) == of {
			n++
		}
		units, rows = append(units, split(rows[:n], others...)...), rows[n:]
	}
	return units
}

// place is where in an import a row belongs.
type place struct {
	rank    int
	name    string // of a key, with its folder, or of a single other row
	version string // of the history; "": it is live
	data    string // its own path if it is data, which may be too large for a transaction with others; else ""
}

// compare puts versions in the order of their numbers, the live one last, and data first of its version.
func (p place) compare(o place) int {
	digits := func(p place) int {
		if p.version == "" {
			return math.MaxInt
		}
		return len(p.version)
	}
	return cmp.Or(cmp.Compare(p.rank, o.rank), strings.Compare(p.name, o.name), cmp.Compare(digits(p), digits(o)),
		strings.Compare(p.version, o.version), strings.Compare(o.data, p.data))
}

// The ranks of places.
const (
	rankLock = iota
	rankOther
	rankKey
)

func placeOf(path string) place {
	dir, row := cutLast(path)
	p := place{rank: rankOther, name: path}
	if row == "data" {
		p.data = path
	}
	if prefix, rest, ok := strings.Cut(path, "/.history/"); ok {
		past, _ := cutLast(rest)
		key, number := cutLast(past)
		if key != "" && (row == "data" || row == "manifest" || row == "pending") {
			p.rank, p.name, p.version = rankKey, prefix+"/"+key+"/", number
			return p
		}
	}
	if folder, hash := cutLast(dir); kv.IsSHA256(hash) && (folder == "locks" || strings.HasSuffix(folder, "/locks")) {
		p.rank = rankLock
	} else if dir != "" && slices.Contains(kv.KeyRows(), row) {
		p.rank, p.name = rankKey, dir+"/"
	}
	return p
}

// cutLast cuts at the last slash; without one, the whole path is the last part.
func cutLast(path string) (before, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
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
