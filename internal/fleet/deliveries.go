package fleet

import (
	"cmp"
	"slices"
	"time"
)

// Delivery is how long a version took to one node.
type Delivery struct {
	Node string
	Took time.Duration
}

// Deliveries are the times that Delivered of a Report is made of, the shortest first.
func Deliveries(roster Roster, standing Standing, o Options) []Delivery {
	s := newScene(roster, standing, o)
	var all []Delivery
	for _, n := range roster.Nodes {
		if n.Err != nil {
			continue
		}
		if l, ok := s.judge(n); ok && l.Verdict != Gone && l.published != nil {
			all = append(all, Delivery{l.Node, *l.published})
		}
	}
	slices.SortFunc(all, func(a, b Delivery) int {
		return cmp.Or(cmp.Compare(a.Took, b.Took), cmp.Compare(a.Node, b.Node))
	})
	return all
}
