package agent

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// probing is a target with a candidate in place, and a probe that never ends by itself.
func probing(limit time.Duration) (*target, <-chan struct{}) {
	rolled := make(chan struct{}, 1)
	t := &target{log: slog.New(slog.DiscardHandler), node: &node{probes: make(chan struct{}, 1), rolled: rolled}}
	t.Target = config.Target{Target: install.Target{Key: "k", File: "/f", Probe: []string{"sleep", "600"}, ProbeTimeout: limit}}
	t.status.Outcome = outcome.Converged
	t.candidate = candidate{rollout: "r1", inPlace: true, probe: &probe{}}
	return t, rolled
}

// A probe that hangs fails at its limit. One whose candidate is withdrawn ends, and is no failure.
func TestProbeHangs(t *testing.T) {
	t.Parallel()
	for _, withdraw := range []bool{false, true} {
		limit := 300 * time.Millisecond
		if withdraw {
			limit = time.Hour
		}
		p, ended := probing(limit)
		withdrawn := make(chan struct{})
		p.mu.Lock()
		p.probeAt(context.Background(), time.Now(), 0, withdrawn)
		if !p.candidate.probe.running {
			t.Fatal("it does not run")
		}
		p.mu.Unlock()
		if withdraw {
			close(withdrawn)
		}
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("it does not end")
		}
		p.mu.Lock()
		if f := p.candidate.failed; (f == nil) != withdraw || f != nil && f.reason != "probe" {
			t.Errorf("withdrawn %t: %+v", withdraw, f)
		}
		p.mu.Unlock()
	}
}
