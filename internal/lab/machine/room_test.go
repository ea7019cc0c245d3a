//go:build linux

package machine

import (
	"math"
	"strings"
	"testing"
)

func TestFit(t *testing.T) {
	t.Parallel()
	const node, reserve = 6 << 20, 2 << 30
	n := Need{PerNode: node, Reserve: reserve}
	for available, want := range map[int64]int{0: 0, reserve - 1: 0, reserve: 0, reserve + node - 1: 0, reserve + 1188*node: 1188} {
		if got := n.Fit(available); got != want {
			t.Errorf("%d nodes fit into %d bytes, want %d", got, available, want)
		}
	}
}

// Too little of anything is refused, with how many fit and what helps.
func TestRoom(t *testing.T) {
	t.Parallel()
	little := Need{PerNode: 1, Threads: 1}
	if available, err := little.Room(1); err != nil || available <= 0 {
		t.Errorf("one node does not fit into %d bytes: %v", available, err)
	}
	for remedy, n := range map[string]Need{
		"fit; ask for so many, or free some":                 {PerNode: math.MaxInt64 / 8, Threads: 1},
		"fit; raise kernel.pid_max":                          {PerNode: 1, Threads: math.MaxInt32},
		"fit; raise the hard limit (ulimit -Hn), or ask for": {PerNode: 1, Threads: 1, Files: math.MaxInt32},
	} {
		if _, err := n.Room(2); err == nil || !strings.Contains(err.Error(), ": 0 "+remedy) {
			t.Errorf("%+v: %v, want %q", n, err, remedy)
		}
	}
}
