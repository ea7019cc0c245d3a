//go:build linux

package scale

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"kvexpress/internal/fleet"
)

// DefaultTolerance is by how much the two sides may differ beyond what receipts explain.
// The kernel notes the beginning of its tick: 4 ms early, and more when a tick was late,
// as on a machine without a free processor. A node reads its clock a moment before or
// after what it tells of, and may lose its processor in between.
const DefaultTolerance = 40 * time.Millisecond

// oneNode is how much a single node may differ at least: it may lose its processor between
// two looks at its clock, among a thousand others. Percentiles must not.
const oneNode = 500 * time.Millisecond

// rounding is of the milliseconds with three decimals in which times are told.
const rounding = 2 * time.Microsecond

// Told is what a node has said, from the publish.
type Told struct {
	Node    string        `json:"node"`
	InPlace time.Duration `json:"in_place_ns"` // until the file was in place, and durable
	Place   time.Duration `json:"place_ns"`    // how much of that were the rename and the fsync of the folder
	Exec    time.Duration `json:"exec_ns"`     // how long the exec took, after that
	Sent    time.Duration `json:"sent_ns"`     // until it wrote the receipt, in which the exec had ended
}

// Seen is what was seen of a node, from the publish.
type Seen struct {
	Node    string        `json:"node"`
	InPlace time.Duration `json:"in_place_ns"` // until the rename
	Done    time.Duration `json:"done_ns"`     // until the exec had added its line
}

// Comparison is what the two sides come to.
type Comparison struct {
	Tolerance fleet.Millis `json:"tolerance_ms"`
	// What `status` does not tell, from its receipts: the rename and the fsync of the
	// folder, and delivered with the exec.
	Place    fleet.Percentiles `json:"told_place"`
	ToldDone fleet.Percentiles `json:"told_done"`
	// From outside.
	InPlace fleet.Percentiles `json:"seen_in_place"`
	Done    fleet.Percentiles `json:"seen_done"`
	// Early is by how much a file was in place before a node can have put it there, by
	// its receipt, of the node that was worst; Late by how much after. Both 0: all times
	// lie within what receipts tell.
	Early fleet.Millis `json:"early_ms"`
	Late  fleet.Millis `json:"late_ms"`
	// Accused are the nodes whose clock `status` takes for wrong. All have this machine's:
	// it is their receipts that were on their way for too long. `status` dates them by
	// others, so they are left out of what follows.
	Accused int `json:"accused"`
	// Gap is the longest from a file in place to its exec's line, without the time that
	// the exec took: the state was written, and the node waited for a processor.
	Gap      fleet.Millis `json:"gap_ms"`
	Problems []string     `json:"problems"`
}

// Compare holds what a fleet tells of a version, by `status` and by its receipts, against
// what was seen from outside, node by node and by percentiles. Problems has all percentiles
// that differ by more than the tolerance, and all nodes that do by more than that and by
// more than half a second.
func Compare(status fleet.Report, told []Told, seen []Seen, tolerance time.Duration) Comparison {
	c := Comparison{Tolerance: fleet.Millis(tolerance), Problems: []string{}}
	pairs := c.pair(told, seen)
	of := func(time func(pair) time.Duration) fleet.Percentiles { return percentiles(pairs, time) }
	inPlace := func(p pair) time.Duration { return p.told.InPlace }
	c.Place = of(func(p pair) time.Duration { return p.told.Place })
	c.ToldDone = of(func(p pair) time.Duration { return p.told.InPlace + p.told.Exec })
	c.InPlace = of(func(p pair) time.Duration { return p.seen.InPlace })
	c.Done = of(func(p pair) time.Duration { return p.seen.Done })
	c.same("delivered", status.Delivered, of(inPlace))
	c.same("exec", status.Exec, of(func(p pair) time.Duration { return p.told.Exec }))

	fair := c.fair(status, pairs)
	for _, p := range fair {
		c.node(p.told, p.seen, max(tolerance, oneNode))
	}
	latest, seenThen := status.Delivered, c.InPlace
	if len(fair) < len(pairs) {
		latest, seenThen = percentiles(fair, inPlace), percentiles(fair, func(p pair) time.Duration { return p.seen.InPlace })
	}
	earliest := percentiles(fair, func(p pair) time.Duration { return p.told.InPlace - p.told.Place })
	for _, rank := range ranks(latest, earliest, seenThen) {
		if rank.seen < rank.earliest-tolerance || rank.seen > rank.told+tolerance {
			c.problem("%s: status tells %v, %v before the fsync, and %v was seen", rank.name, rank.told, rank.earliest, rank.seen)
		}
	}
	return c
}

// pair is a node of which both sides speak.
type pair struct {
	told Told
	seen Seen
}

func (c *Comparison) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// pair finds the nodes that both sides have; all must be.
func (c *Comparison) pair(told []Told, seen []Seen) []pair {
	byName := map[string]Told{}
	for _, t := range told {
		byName[t.Node] = t
	}
	var all []pair
	for _, s := range seen {
		t, ok := byName[s.Node]
		if !ok {
			c.problem("%s has the file since %v, and tells no time", s.Node, s.InPlace)
			continue
		}
		delete(byName, s.Node)
		all = append(all, pair{t, s})
	}
	for _, t := range told {
		if _, left := byName[t.Node]; left {
			c.problem("%s tells of %v, and was not seen to have the file", t.Node, t.InPlace)
		}
	}
	return all
}

// fair are the nodes whose clock is not taken for wrong.
func (c *Comparison) fair(status fleet.Report, pairs []pair) []pair {
	accused := map[string]bool{}
	for _, off := range status.Clocks {
		if off.Who != "node" {
			c.problem("status takes the clock of the %s for wrong by %v", off.Who, off.Off)
		}
		accused[off.Node] = true
	}
	fair := slices.DeleteFunc(slices.Clone(pairs), func(p pair) bool { return accused[p.told.Node] })
	c.Accused = len(pairs) - len(fair)
	if c.Accused > len(pairs)/20 {
		c.problem("status takes the clocks of %d of %d nodes for wrong: receipts were on their way for seconds, so that times mean nothing", c.Accused, len(pairs))
	}
	return fair
}

// node holds the two sides of one against each other: the rename was within the step that
// the node tells of, and the exec wrote its line between that and the receipt that tells of
// its end.
func (c *Comparison) node(t Told, s Seen, tolerance time.Duration) {
	early, late := t.InPlace-t.Place-s.InPlace, s.InPlace-t.InPlace
	c.Early, c.Late = max(c.Early, fleet.Millis(early)), max(c.Late, fleet.Millis(late))
	if early > tolerance || late > tolerance {
		c.problem("%s tells that the file was in place after %v, renamed in the last %v of it, and it was seen after %v", t.Node, t.InPlace, t.Place, s.InPlace)
	}
	c.Gap = max(c.Gap, fleet.Millis(s.Done-t.InPlace-t.Exec))
	if s.Done < t.InPlace-tolerance || s.Done > t.Sent+tolerance {
		c.problem("%s tells that the exec ran for %v between %v and %v, and its line was written after %v", t.Node, t.Exec, t.InPlace, t.Sent, s.Done)
	}
}

// same wants two percentiles to be the same, but for rounding.
func (c *Comparison) same(what string, status, receipts fleet.Percentiles) {
	if status.Count != receipts.Count {
		c.problem("%s: status counts %d nodes, and %d were seen and told of it", what, status.Count, receipts.Count)
	}
	for _, r := range ranks(status, receipts, receipts) {
		if (r.told - r.seen).Abs() > rounding {
			c.problem("%s, %s: status tells %v, and the receipts come to %v", what, r.name, r.told, r.seen)
		}
	}
}

// rank is one percentile of three sides.
type rank struct {
	name                 string
	told, earliest, seen time.Duration
}

func ranks(told, earliest, seen fleet.Percentiles) []rank {
	one := func(name string, of func(fleet.Percentiles) fleet.Millis) rank {
		return rank{name, time.Duration(of(told)), time.Duration(of(earliest)), time.Duration(of(seen))}
	}
	return []rank{
		one("p50", func(p fleet.Percentiles) fleet.Millis { return p.P50 }),
		one("p90", func(p fleet.Percentiles) fleet.Millis { return p.P90 }),
		one("p99", func(p fleet.Percentiles) fleet.Millis { return p.P99 }),
		one("last", func(p fleet.Percentiles) fleet.Millis { return p.Last }),
	}
}

// percentiles are by the nearest rank, as those of `status`.
func percentiles(all []pair, of func(pair) time.Duration) fleet.Percentiles {
	if len(all) == 0 {
		return fleet.Percentiles{}
	}
	sorted := slices.SortedFunc(slices.Values(all), func(a, b pair) int { return cmp.Compare(of(a), of(b)) })
	rank := func(p float64) fleet.Millis {
		return fleet.Millis(of(sorted[int(math.Ceil(p*float64(len(sorted))))-1]))
	}
	return fleet.Percentiles{
		Count: len(sorted), P50: rank(0.5), P90: rank(0.9), P99: rank(0.99),
		Last: rank(1), LastNode: sorted[len(sorted)-1].told.Node,
	}
}
