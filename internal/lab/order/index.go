package order

import (
	"fmt"
	"net/netip"
	"slices"
)

// run is a row of neighbouring versions that say the same of a name: the places
// from first to last, both included.
type run struct{ first, last int }

// said is what a version says of a name. The zero Addr: there is no such name.
type said struct {
	name string
	addr netip.Addr
}

// index finds the versions that say something, without looking at each of them.
type index struct {
	versions []Version
	names    map[string]bool
	runs     map[said][]run // in order, and apart from each other
}

func newIndex(versions []Version, names []string) index {
	x := index{versions: versions, names: make(map[string]bool, len(names)), runs: make(map[said][]run, len(names))}
	for _, name := range names {
		if x.names[name] {
			continue
		}
		x.names[name] = true
		for first := 0; first < len(versions); {
			addr := versions[first].Hosts[name]
			last := first
			for last+1 < len(versions) && versions[last+1].Hosts[name] == addr {
				last++
			}
			key := said{name, addr}
			x.runs[key] = append(x.runs[key], run{first, last})
			first = last + 1
		}
	}
	return x
}

// next is the place of the first version from low on that says what was answered,
// published or not.
func (x index) next(a Answer, low int) (at int, ok bool) {
	runs := x.runs[said{a.Name, a.Addr}]
	i, _ := slices.BinarySearchFunc(runs, low, func(r run, low int) int { return r.last - low })
	if i == len(runs) {
		return 0, false
	}
	return max(low, runs[i].first), true
}

// before is the place of the last version before low that says what was answered.
func (x index) before(a Answer, low int) (at int, ok bool) {
	for _, r := range x.runs[said{a.Name, a.Addr}] {
		if r.first < low {
			at, ok = min(r.last, low-1), true
		}
	}
	return at, ok
}

// disorder says what is wrong with the order of the versions, or nothing.
func disorder(versions []Version) string {
	for i := 1; i < len(versions); i++ {
		a, b := versions[i-1], versions[i]
		if b.Number <= a.Number || b.Published.Before(a.Published) {
			return fmt.Sprintf("nothing was judged: version %d is listed after version %d, and is not newer in its number and time", b.Number, a.Number)
		}
	}
	return ""
}
