package difftest

import (
	"cmp"
	"fmt"
	"slices"
)

// relation pairs the indexes of the two servers, in order on both sides.
type relation []pair

type pair struct{ ref, sub uint64 }

// index relates two indexes that were seen in the same place. Zero is no index.
func (r *relation) index(ref, sub uint64) error {
	if ref == 0 || sub == 0 {
		if ref != sub {
			return fmt.Errorf("index %d is %d", ref, sub)
		}
		return nil
	}
	known := *r
	at, found := slices.BinarySearchFunc(known, ref, func(p pair, ref uint64) int { return cmp.Compare(p.ref, ref) })
	switch {
	case found && known[at].sub == sub:
		return nil
	case found:
		return fmt.Errorf("index %d is %d, and was %d before", ref, sub, known[at].sub)
	case at > 0 && known[at-1].sub >= sub:
		return fmt.Errorf("index %d is %d, but the lower %d is %d", ref, sub, known[at-1].ref, known[at-1].sub)
	case at < len(known) && known[at].sub <= sub:
		return fmt.Errorf("index %d is %d, but the higher %d is %d", ref, sub, known[at].ref, known[at].sub)
	}
	*r = slices.Insert(known, at, pair{ref, sub})
	return nil
}
