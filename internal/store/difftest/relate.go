package difftest

import (
	"fmt"
	"slices"
)

// relation pairs what the two servers call by their own names. Nothing is in
// it twice, on either side.
type relation struct {
	indexes []pair // in order, on both sides
	toSub   map[string]string
	toRef   map[string]string
}

type pair struct{ ref, sub uint64 }

func newRelation() *relation {
	return &relation{toSub: map[string]string{}, toRef: map[string]string{}}
}

func (r *relation) clone() *relation {
	c := newRelation()
	c.indexes = slices.Clone(r.indexes)
	for ref, sub := range r.toSub {
		c.toSub[ref], c.toRef[sub] = sub, ref
	}
	return c
}

// index relates two indexes that were seen in the same place. Zero is nobody's.
func (r *relation) index(ref, sub uint64) error {
	if ref == 0 || sub == 0 {
		if ref != sub {
			return fmt.Errorf("index %d is %d", ref, sub)
		}
		return nil
	}
	at, found := slices.BinarySearchFunc(r.indexes, ref, func(p pair, ref uint64) int {
		switch {
		case p.ref < ref:
			return -1
		case p.ref > ref:
			return 1
		}
		return 0
	})
	switch {
	case found && r.indexes[at].sub == sub:
		return nil
	case found:
		return fmt.Errorf("index %d is %d, and was %d before", ref, sub, r.indexes[at].sub)
	case at > 0 && r.indexes[at-1].sub >= sub:
		return fmt.Errorf("index %d is %d, but the lower %d is %d", ref, sub, r.indexes[at-1].ref, r.indexes[at-1].sub)
	case at < len(r.indexes) && r.indexes[at].sub <= sub:
		return fmt.Errorf("index %d is %d, but the higher %d is %d", ref, sub, r.indexes[at].ref, r.indexes[at].sub)
	}
	r.indexes = slices.Insert(r.indexes, at, pair{ref, sub})
	return nil
}

// id relates two session ids that were seen in the same place.
func (r *relation) id(ref, sub string) error {
	wasSub, knownRef := r.toSub[ref]
	wasRef, knownSub := r.toRef[sub]
	if knownRef && wasSub != sub || knownSub && wasRef != ref {
		return fmt.Errorf("id %s is %s, which is another one's", ref, sub)
	}
	r.toSub[ref], r.toRef[sub] = sub, ref
	return nil
}
