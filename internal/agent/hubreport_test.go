package agent

import (
	"strings"
	"testing"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/wire"
)

// A hub cannot keep agents from other hubs after its end.
func TestMoveTime(t *testing.T) {
	t.Parallel()
	for agents, want := range map[int]time.Duration{0: leastMove, 3000: 2 * time.Second, 1 << 40: mostMove, 1<<63 - 1: leastMove} {
		if got := new(hubSource).moveTime(&session{agents: agents}); got.Round(time.Millisecond) != want {
			t.Errorf("for %d agents: %s", agents, got)
		}
	}
}

// An agent whose receipts a hub does not take says so, and sends one when the hub takes them again.
func TestHubDeclinesReceipts(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		hub := hubs["a:1"]
		hub.takes.Store(true)
		s.config.Receipts = true
		s.begin()
		pass(time.Minute)
		sent := hub.taken.Load()
		hub.tell(wire.FromHub{Failed: &wire.Failed{Reason: wire.Denied, Says: "no right"}})
		pass(2 * time.Second)
		if e := s.agent.Status().Receipt.Error; !strings.Contains(e, "no right") {
			t.Errorf("the error is %q", e)
		}
		hub.tell(wire.FromHub{Failed: &wire.Failed{Reason: wire.Denied}})
		pass(2 * time.Second)
		if n, e := hub.taken.Load()-sent, s.agent.Status().Receipt.Error; n != 1 || e != "" {
			t.Errorf("%d receipts, error %q", n, e)
		}
	})
}

// A candidate that becomes current within a second costs one receipt. One that fails is reported at once, one that stays later.
func TestCandidateReceipt(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		hub := hubs["a:1"]
		hub.takes.Store(true)
		s.config.Receipts, s.config.Targets[0].Check = true, s.command(`! grep bad {file}`)
		s.begin()
		pass(time.Minute)
		sent := hub.taken.Load()
		gets := func(n int64, what string) {
			t.Helper()
			if got := hub.taken.Load() - sent; got != n {
				t.Errorf("%s: %d receipts, want %d", what, got, n)
			}
			sent = hub.taken.Load()
		}
		hub.offer("k0", "r1", "two\n")
		pass(900 * time.Millisecond)
		gets(0, "a new candidate")
		hub.promote("k0")
		pass(90 * time.Millisecond)
		gets(1, "promoted")
		hub.offer("k0", "r2", "three\n")
		pass(1100 * time.Millisecond)
		gets(1, "a candidate that stays")
		hub.withdraw("k0")
		pass(90 * time.Millisecond)
		gets(1, "withdrawn")
		hub.offer("k0", "r3", "bad\n")
		pass(90 * time.Millisecond)
		gets(1, "a candidate that fails")
	})
}

// A dry run tells the hub that it is one: the node is not there because of it, and there are no two of that name.
func TestPlanIsAProbe(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Minute)
		if err := Plan(t.Context(), s.agent.options, false, func(config.Target, install.Result, error) {}); err != nil {
			t.Error(err)
		}
		if all, _ := hubs["a:1"].greeted(); len(all) != 2 || all[0].Probe || !all[1].Probe {
			t.Errorf("the hub was told %+v", all)
		}
	})
}
