package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// The larger a fleet, the later and the more spread its receipts; never all at once,
// and never for ever.
func TestReceiptDelay(t *testing.T) {
	for _, c := range []struct {
		nodes       int
		least, most time.Duration
	}{
		{1, perNode, 2 * perNode},
		{10, 15 * time.Millisecond, 30 * time.Millisecond},
		{0, usualFleet * perNode, 2 * usualFleet * perNode},
		{1200, 1800 * time.Millisecond, 3600 * time.Millisecond},
		{10_000, 15 * time.Second, 30 * time.Second},
		{1_000_000, mostSpread / 2, mostSpread},
		{-5, usualFleet * perNode, 2 * usualFleet * perNode},
	} {
		var all []time.Duration
		for i := range 1000 {
			all = append(all, receiptDelay(fmt.Sprintf("web-%d", i), c.nodes))
		}
		slices.Sort(all)
		if all[0] < c.least || all[999] > c.most {
			t.Errorf("%d nodes wait from %v to %v, want %v to %v", c.nodes, all[0], all[999], c.least, c.most)
		}
		width := c.most - c.least
		for i := range 10 { // evenly: a tenth of them in each tenth
			from := c.least + width*time.Duration(i)/10
			n := 0
			for _, d := range all {
				if d >= from && d < from+width/10 {
					n++
				}
			}
			if n < 60 || n > 140 {
				t.Errorf("of %d nodes, %d of a thousand wait %v to %v", c.nodes, n, from, from+width/10)
			}
		}
	}
}
