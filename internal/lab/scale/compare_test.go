//go:build linux

package scale

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
)

// invented is a fleet of which both sides agree, with times as nodes have them.
func invented(nodes int) (fleet.Report, []Told, []Seen) {
	var told []Told
	var seen []Seen
	for i := range nodes {
		name := fmt.Sprintf("node-%04d", i+1)
		took := 100*time.Millisecond + time.Duration(i*i)*time.Microsecond
		t := Told{Node: name, InPlace: took, Place: 3 * time.Millisecond, Exec: 5 * time.Millisecond, Sent: took + time.Second}
		told = append(told, t)
		seen = append(seen, Seen{Node: name, InPlace: took - time.Millisecond, Done: took + 4*time.Millisecond})
	}
	return statusOf(told), told, seen
}

// statusOf is what `status` tells of these receipts.
func statusOf(told []Told) fleet.Report {
	var pairs []pair
	for _, t := range told {
		pairs = append(pairs, pair{told: t})
	}
	return fleet.Report{
		Delivered: percentiles(pairs, func(p pair) time.Duration { return p.told.InPlace }),
		Exec:      percentiles(pairs, func(p pair) time.Duration { return p.told.Exec }),
	}
}

func TestCompare(t *testing.T) {
	r, told, seen := invented(119)
	if c := Compare(r, told, seen, 0); len(c.Problems) > 0 || c.InPlace.Count != 119 || c.Early > 0 || c.Late > 0 {
		t.Errorf("two sides that agree: %+v", c)
	}
	distorted(t, r, told, seen, DefaultTolerance)

	// A node that status accuses is left out, and too many are not.
	told[7].InPlace += time.Minute
	r = statusOf(told)
	for i, n := range []int{1, 7} {
		r.Clocks = nil
		for _, s := range told[7 : 7+n] {
			r.Clocks = append(r.Clocks, fleet.ClockOff{Node: s.Node, Who: "node", Off: -time.Minute})
		}
		if c := Compare(r, told, seen, DefaultTolerance); len(c.Problems) != i || c.Accused != n {
			t.Errorf("%d accused: %+v", n, c)
		}
	}
}

// distorted wants to see found what may be wrong with either side, of a fleet in which
// nothing is. Distortions are by more than a tolerance.
func distorted(t *testing.T, r fleet.Report, told []Told, seen []Seen, tolerance time.Duration) {
	t.Helper()
	much := 2*tolerance + time.Second
	each := func(change func(*Seen)) []Seen {
		all := slices.Clone(seen)
		for i := range all {
			change(&all[i])
		}
		return all
	}
	slowest := slices.IndexFunc(seen, func(s Seen) bool { return s.Node == r.Delivered.LastNode })
	latest := told[slices.IndexFunc(told, func(s Told) bool { return s.Node == r.Delivered.LastNode })].Sent
	one := func(change func(*Seen)) []Seen {
		all := slices.Clone(seen)
		change(&all[slowest])
		return all
	}
	without := func(i int) []Seen { return slices.Delete(slices.Clone(seen), i, i+1) }
	fewer := slices.DeleteFunc(slices.Clone(told), func(s Told) bool { return s.Node == r.Delivered.LastNode })
	milli := r
	milli.Delivered.P50 /= 1000
	for name, c := range map[string]struct {
		r    fleet.Report
		told []Told
		seen []Seen
		says string
	}{
		"seen later":              {r, told, each(func(s *Seen) { s.InPlace += much; s.Done += much }), "p50: status tells"},
		"seen sooner":             {r, told, each(func(s *Seen) { s.InPlace -= much; s.Done -= much }), "last: status tells"},
		"the slowest is not seen": {r, told, without(slowest), "was not seen"},
		"it is not told":          {statusOf(fewer), fewer, seen, "tells no time"},
		"status leaves it out":    {statusOf(fewer), told, seen, "status counts"},
		"one node later":          {r, told, one(func(s *Seen) { s.InPlace += much; s.Done += much }), r.Delivered.LastNode + " tells"},
		"one exec later":          {r, told, one(func(s *Seen) { s.Done += much + latest }), "its line was written"},
		"one exec before":         {r, told, one(func(s *Seen) { s.Done -= much + latest }), "its line was written"},
		"another unit":            {milli, told, seen, "p50: status tells"},
		"nobody":                  {fleet.Report{Delivered: r.Delivered, Exec: r.Exec}, nil, nil, "status counts"},
	} {
		if got := strings.Join(Compare(c.r, c.told, c.seen, tolerance).Problems, "\n"); !strings.Contains(got, c.says) {
			t.Errorf("%s: not found, but:\n%.500s", name, got)
		}
	}
}

// What nodes do wrong is a problem of the result: bytes, an exec that did not run, or ran
// twice.
func TestNodesThatAreWrong(t *testing.T) {
	n := &node{name: "node-0001", dir: t.TempDir()}
	content, sha := hosts(1), strings.Repeat("ab", 32)
	for _, c := range []struct {
		file        string
		trace, says string
		right, ran  int
	}{
		{string(content), "1 " + sha + "\n", "", 1, 1},
		{string(content[:len(content)-1]), "1 " + sha + "\n", "not those that were published", 0, 0},
		{string(content), "", "the exec did not run", 1, 0},
		{string(content), "1 " + sha + "\n1 " + sha + "\n", "ran 2 times for 1 version", 1, 0},
		{string(content), "1 " + strings.Repeat("cd", 32) + "\n", "ran 1 times", 1, 0},
	} {
		put(t, n.file(keyHosts), c.file)
		put(t, n.trace(keyHosts), c.trace)
		before := time.Now().Add(-time.Second)
		l, err := n.look(keyHosts, content, 1, sha, 1)
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) || l.right != c.right || l.ran != c.ran {
			t.Errorf("%.20q: %+v, %v", c.trace, l, err)
		}
		if err == nil && (l.inPlace.Before(before) || l.done.Before(before)) {
			t.Errorf("%+v is before %v", l, before)
		}
	}
}
