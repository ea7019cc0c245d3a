//go:build linux

package lab_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// paused freezes a node, whole or only its agent: the others get each change meanwhile,
// and it gets there in the end.
func paused(t *testing.T, s *lab.Scene, n *lab.Node, off, on func()) {
	service := s.Services[2]
	if service.Node == n {
		service = s.Services[3]
	}
	for range 3 {
		off()
		since := time.Now()
		changeOne(t, s, service, true)
		for _, other := range s.Nodes {
			if other != n {
				answers(t, other, service)
			}
		}
		all := time.Now()
		if answer, ok := s.Sampler.First(n, since, lab.FQDN(service.Name), service.Addr()); ok && answer.Answered.Before(all) {
			t.Errorf("%s was paused, and had the change", n.Name)
		}
		on()
	}
	answers(t, n, service)
	pulses(t, s, n, off, on)
	answers(t, n, service)
}

// pulses freezes and frees a node again and again, while the catalog changes.
func pulses(t *testing.T, s *lab.Scene, n *lab.Node, off, on func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			off()
			pass(ctx, 400*time.Millisecond)
			on()
			pass(ctx, 200*time.Millisecond)
		}
	})
	for _, service := range s.Services[20:26] {
		if service.Node != n {
			changeOne(t, s, service, true)
		}
	}
	cancel()
	wg.Wait()
}

func nodesPaused(t *testing.T, s *lab.Scene) {
	watch, agent := s.Nodes[2], s.Nodes[3]
	paused(t, s, agent, agent.Agent.Pause, agent.Agent.Continue)
	paused(t, s, agent, agent.Pause, agent.Continue)
	paused(t, s, watch, watch.Pause, watch.Continue)
}
