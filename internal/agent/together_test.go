package agent

import (
	"fmt"
	"testing"
	"time"
)

// The receipts of a large fleet come in some tens of moments, none before it is due,
// and those of a small one are hardly held back.
func TestReceiptsComeTogether(t *testing.T) {
	began := time.Now()
	for _, c := range []struct {
		nodes, most int
		slot        time.Duration
	}{{3, 3, time.Millisecond}, {100, 12, 20 * time.Millisecond}, {1200, 12, 240 * time.Millisecond},
		{10_000, 82, 250 * time.Millisecond}} {
		moments := map[int64]int{}
		for i := range c.nodes {
			due := began.Add(receiptDelay(fmt.Sprintf("web-%d", i), c.nodes))
			at := together(due, c.nodes)
			if late := at.Sub(due); late < 0 || late > c.slot {
				t.Fatalf("%d nodes: due at %v, written %v later, want at most %v", c.nodes, due, late, c.slot)
			}
			moments[at.UnixNano()]++
		}
		if len(moments) > c.most {
			t.Errorf("%d nodes report at %d moments, want at most %d", c.nodes, len(moments), c.most)
		}
	}
}
