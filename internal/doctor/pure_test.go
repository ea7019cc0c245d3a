package doctor

import (
	"context"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wire"
)

func wants(t *testing.T, all []Finding, r Result, words ...string) {
	t.Helper()
	for _, f := range all {
		fits := f.Result == r
		for _, word := range words {
			fits = fits && strings.Contains(f.Check+" "+f.Says, word)
		}
		if fits {
			return
		}
	}
	t.Errorf("no %s with %q: %+v", r, words, all)
}

func TestAgent(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) *time.Time { at := now.Add(-d); return &at }
	s := agent.Status{Version: "2.0.0", Node: "web-17", Started: now.Add(-time.Hour), Contact: ago(time.Second),
		Targets: []agent.TargetStatus{{}}}
	if all := OfAgent(s, "2.0.0", now); len(all) != 1 || all[0].Result != OK {
		t.Errorf("%+v", all)
	}
	wants(t, OfAgent(s, "2.0.1", now), Warning, "version", "2.0.0", "2.0.1", "systemctl restart")
	s.Contact = ago(3 * time.Minute)
	wants(t, OfAgent(s, "2.0.0", now), Failure, "no contact", "3m0s")
	s.Config.Error, s.Receipt.Error = "agent.yml:3: a mistake", "permission denied"
	wants(t, OfAgent(s, "2.0.0", now), Failure, "refused", "agent.yml:3: a mistake")
	wants(t, OfAgent(s, "2.0.0", now), Warning, "the last receipt was not written", "permission denied")
}

func TestWelcome(t *testing.T) {
	wants(t, ofWelcome(&wire.Welcome{Version: "2.0.0", Age: 200}, "2.0.0"), OK, "2.0.0", "200ms ago")
	wants(t, ofWelcome(&wire.Welcome{Version: "2.0.0", Age: 40_000}, "2.0.0"), Failure, "40s ago", "/readyz")
	wants(t, ofWelcome(&wire.Welcome{Version: "2.0.0"}, "2.0.1"), Warning, "version", "2.0.0", "upgrade")
}

func TestConsulVersion(t *testing.T) {
	for version, want := range map[string]Result{"1.13.9": Warning, "1.14.0": OK, "1.22.5+kvexpress": OK, "": OK, "2.0.0": OK} {
		if f := ofVersion(version, time.Millisecond); f.Result != want {
			t.Errorf("%s: %+v", version, f)
		}
	}
}

// Each outcome but converged has a remedy, also without a detail.
func TestOutcomes(t *testing.T) {
	for _, o := range outcome.Reported() {
		f := ofOutcome(o, 3, "")
		if (f.Result == OK) != (o == outcome.Converged) || f.Result != OK && !strings.Contains(f.Says, "; ") {
			t.Errorf("%s: %+v", o, f)
		}
	}
	for _, o := range []outcome.Outcome{outcome.Stopped, outcome.Locked, outcome.Waiting, outcome.Starting} {
		if f := ofOutcome(o, 0, "why"); f.Result != Warning {
			t.Errorf("%s: %+v", o, f)
		}
	}
}

// Findings come in the order of the checks. A check that hangs is a failure, and does not hold up the others.
func TestRun(t *testing.T) {
	hangs := make(chan struct{})
	defer close(hangs)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := Check{Name: "slow", About: "disk", Run: func(context.Context) []Finding { <-hangs; return nil }}
	waited := ""
	all := Run(ctx, []Check{slow, Given("quick", "", found(OK, "a\nb\x1b"))}, func(int) { waited = "slow"; cancel() })
	if len(all) != 2 || all[0].Check != "slow" || all[0].About != "disk" || all[0].Result != Failure || all[1].Result != OK ||
		waited != "slow" || strings.ContainsAny(all[1].Says, "\n\x1b") {
		t.Errorf("%+v, waited for %q", all, waited)
	}
}
