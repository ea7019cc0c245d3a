package fleet

import (
	"slices"
	"testing"
	"time"
)

// Deliveries are what the percentiles are made of.
func TestDeliveries(t *testing.T) {
	s := newScenario()
	for i, age := range []time.Duration{9 * time.Second, 5 * time.Second, 8 * time.Second} { // before the receipt, 20 s after the publish
		s.node(40*time.Second, true, has(5).but(func(t *Target) { t.Placed = &Placed{Age: Millis(age), First: i == 1} }))
	}
	s.node(40*time.Second, true, has(4))
	s.nodes = append(s.nodes, Node{Name: "web-9", Err: ErrReceipt})
	got := Deliveries(Roster{Nodes: s.nodes, Read: s.now}, s.standing, Options{})
	want := []Delivery{{"web-0", 11 * time.Second}, {"web-2", 12 * time.Second}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if p := s.examine().Delivered; p.Count != len(want) || time.Duration(p.Last) != want[1].Took || p.LastNode != "web-2" {
		t.Errorf("the report has %+v", p)
	}
}
