//go:build linux

package lab_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// nodesSwitched gives each node an agent in place of its watch, and the other way round,
// there and back, while the catalog goes on changing.
func nodesSwitched(t *testing.T, s *lab.Scene) {
	before := last(s)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			// Not cut off: what became of it would not be known.
			if err := s.Services[i%len(s.Services)].Register(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
			pass(ctx, 100*time.Millisecond)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	defer stop()
	other := map[lab.Mode]lab.Mode{lab.Watch: lab.Agent, lab.Agent: lab.Watch}
	for range 2 {
		for _, n := range s.Nodes {
			if err := n.Switch(t.Context(), other[n.Mode]); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range s.Nodes {
			watch, agent, err := n.Delivers()
			if err != nil || watch == agent || agent != (n.Mode == lab.Agent) {
				t.Errorf("%s, mode %s: watch %v, agent %v, %v", n.Name, n.Mode, watch, agent, err)
			}
		}
	}
	stop()
	published(t, s, s.Services...)
	t.Logf("%d versions while all nodes were switched twice", last(s).Number-before.Number)
}
