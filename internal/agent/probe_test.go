package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// probing is a target with a candidate in place, and a probe that never ends by itself.
func probing(test *testing.T, limit time.Duration) (*target, <-chan struct{}) {
	dir := test.TempDir()
	rolled := make(chan struct{}, 1)
	t := &target{log: slog.New(slog.DiscardHandler), node: &node{probes: make(chan struct{}, 1), rolled: rolled,
		installer: &install.Installer{StateDir: filepath.Join(dir, "state")}}}
	t.Target = config.Target{Target: install.Target{Key: "k", File: filepath.Join(dir, "f"), Probe: []string{"sleep", "600"}, ProbeTimeout: limit}}
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
		p, ended := probing(t, limit)
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

// A probe runs until it succeeds, then once a second, and before the answer to a question. Its failure then is final.
func TestProbe(t *testing.T) {
	t.Parallel()
	rolloutTest(t, 1, func(s *site) {
		s.config.Targets[0].Probe = s.command(`echo probe >>"$0"; test -e "$(dirname "$0")/good"`)
	}, func(t *testing.T, s *site, hub *fakeHub) {
		probes := func() (n int) {
			for _, line := range s.ran() {
				if line == "probe" {
					n++
				}
			}
			return n
		}
		hub.offer("k0", "r1", "two\n")
		pass(3 * time.Second)
		hub.says(rollout.Installing)
		if n := probes(); n < 3 {
			t.Errorf("%d probes", n)
		}
		s.mark("good")
		pass(3 * time.Second)
		hub.says(rollout.Healthy)
		before := probes()
		pass(5 * time.Second)
		if n := probes() - before; n < 4 || n > 6 {
			t.Errorf("%d probes in 5 s", n)
		}
		before = probes()
		hub.said()
		hub.tell(wire.FromHub{Ask: &wire.Ask{Key: "k0", Rollout: "r1", ID: 9}})
		if last := hub.says(rollout.Healthy); last.Ask != 9 || probes() != before+1 {
			t.Errorf("%+v after %d probes", last, probes()-before)
		}
		if err := os.Remove(filepath.Join(s.dir, "good")); err != nil {
			t.Fatal(err)
		}
		hub.tell(wire.FromHub{Ask: &wire.Ask{Key: "k0", Rollout: "r1", ID: 10}})
		synctest.Wait()
		all := hub.said()
		if last := all[len(all)-1]; last.State != "failed" || last.Reason != "probe" {
			t.Errorf("%+v", last)
		}
		if slices.ContainsFunc(all, func(h wire.Health) bool { return h.Ask == 10 && h.State == "healthy" }) {
			t.Errorf("it answers before it has probed: %+v", all)
		}
		before = probes()
		pass(time.Minute)
		if probes() != before {
			t.Error("it probes again")
		}
	})
}
