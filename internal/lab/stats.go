//go:build linux

package lab

import (
	"math"
	"slices"
	"time"
)

// Percentiles are of some times, by the nearest rank: each is one that was measured.
type Percentiles struct {
	Count              int
	P50, P90, P99, Max time.Duration
}

// Summarize makes the percentiles of times in any order. Of none, all are 0.
func Summarize(times []time.Duration) Percentiles {
	if len(times) == 0 {
		return Percentiles{}
	}
	all := slices.Sorted(slices.Values(times))
	rank := func(p float64) time.Duration { return all[max(0, int(math.Ceil(p*float64(len(all))))-1)] }
	return Percentiles{Count: len(all), P50: rank(0.5), P90: rank(0.9), P99: rank(0.99), Max: all[len(all)-1]}
}

// Stage is a point that each change passes, or a part of its way.
type Stage struct {
	Name string
	// Of is its time at a change.
	Of func(Change) time.Duration
}

// Stages are those of changes in their order, and at last kvexpress' share. Where nodes
// render for themselves, there is none that is rendered or published for all, and no
// share.
func Stages(changes []Change) []Stage {
	all := []Stage{{"catalog", func(c Change) time.Duration { return c.Catalog }}}
	central := len(changes) > 0 && changes[0].Published > 0
	if central {
		all = append(all,
			Stage{"rendered", func(c Change) time.Duration { return c.Rendered }},
			Stage{"published", func(c Change) time.Duration { return c.Published }})
	}
	all = append(all, Stage{"last file", Change.LastFile}, Stage{"last answer", Change.Last})
	if central {
		all = append(all, Stage{"kvexpress' share", Change.Share})
	}
	return all
}

// Percentiles are those of a stage over changes.
func (s Stage) Percentiles(changes []Change) Percentiles {
	times := make([]time.Duration, len(changes))
	for i, c := range changes {
		times[i] = s.Of(c)
	}
	return Summarize(times)
}
