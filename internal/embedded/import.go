package embedded

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"kvexpress/internal/kv"
)

// ImportStep is one step of bringing rows in: a transaction, or one row that is too large
// for any.
type ImportStep struct {
	Rows []kv.Row
	Put  bool // one row, which only a kv.Putter can write
}

// Ops is the write as a transaction.
func (w ImportStep) Ops() []kv.Op {
	ops := make([]kv.Op, len(w.Rows))
	for i, row := range w.Rows {
		ops[i] = kv.Op{Verb: kv.Set, Path: row.Path, Value: row.Value, Flags: row.Flags}
	}
	return ops
}

// PlanImport puts rows into writes, so that whoever watches the store meanwhile is not misled:
//
//   - Locks come first: what is locked is not overwritten in between.
//   - Then whatever is not a key's of kvexpress, receipts among it.
//   - All rows of one key of kvexpress are in one transaction, its stop and its history
//     among them. Where they are too large for that, the history comes before, each of
//     its versions in one transaction, and data, checksum, manifest and stop are in one
//     after it. Only data that 1.x wrote can be too large for that, too: it
//     comes before the checksum. Its readers see until then that the two do not belong together,
//     and install nothing.
//
// Which rows belong together is told by their paths alone, under whatever prefix.
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
	var p packer
	for _, g := range order {
		for _, unit := range g.units() {
			p.add(unit)
		}
	}
	return p.done()
}

// group is what belongs together: the rows of a key, or a single row of any other kind.
type group struct {
	name string
	rank int
	live []kv.Row
	past map[string][]kv.Row // its history, by the version's number as it stands in the path
}

// The ranks of groups.
const (
	rankLock = iota
	rankOther
	rankKey
)

// placeOf tells by its path what a row belongs to, and which past version of it, if it is a
// part of one.
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

// cutLast cuts at the last slash; without one, all of it is the last part.
func cutLast(path string) (before, last string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// units are the rows of a group in the order in which they are to be written, those
// together that must be in one transaction.
func (g *group) units() [][]kv.Row {
	versions := make([]string, 0, len(g.past))
	for version := range g.past {
		versions = append(versions, version)
	}
	slices.SortFunc(versions, func(a, b string) int { // as numbers
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

// split gives rows that belong together as they are, if they fit into one transaction.
// Else the data comes before the rest.
func split(rows []kv.Row) [][]kv.Row {
	if len(rows) == 0 {
		return nil
	}
	if fits(rows) {
		return [][]kv.Row{rows}
	}
	var units [][]kv.Row
	var rest []kv.Row
	for _, row := range rows {
		if _, last := cutLast(row.Path); last == "data" {
			units = append(units, []kv.Row{row})
		} else {
			rest = append(rest, row)
		}
	}
	if len(rest) == 0 {
		return units
	}
	if fits(rest) {
		return append(units, rest)
	}
	// Nobody's rows: a checksum or a manifest has a few hundred bytes.
	for _, row := range rest {
		units = append(units, []kv.Row{row})
	}
	return units
}

// packer fills transactions.
type packer struct {
	writes []ImportStep
	open   []kv.Row
	size   int
}

func (p *packer) add(unit []kv.Row) {
	size := 0
	for _, row := range unit {
		size += sizeOf(row)
	}
	if len(p.open)+len(unit) > kv.MaxOps || p.size+size > maxBody {
		p.flush()
	}
	if size > maxBody { // then it is one row: see split
		p.writes = append(p.writes, ImportStep{Rows: unit, Put: true})
		return
	}
	p.open, p.size = append(p.open, unit...), p.size+size
}

func (p *packer) flush() {
	if len(p.open) > 0 {
		p.writes = append(p.writes, ImportStep{Rows: p.open})
	}
	p.open, p.size = nil, 0
}

func (p *packer) done() []ImportStep {
	p.flush()
	return p.writes
}

const (
	// opSize is the JSON around name and value of an operation, in bytes, rounded up.
	opSize  = 128
	maxBody = kv.MaxTxnBody
)

// sizeOf is what a row takes of a transaction's body at most.
func sizeOf(row kv.Row) int {
	name := len(row.Path)
	if b, err := json.Marshal(row.Path); err == nil { // it always is a text
		name = len(b)
	}
	return opSize + name + base64.StdEncoding.EncodedLen(len(row.Value))
}

func fits(rows []kv.Row) bool {
	size := 0
	for _, row := range rows {
		size += sizeOf(row)
	}
	return len(rows) <= kv.MaxOps && size <= maxBody
}
