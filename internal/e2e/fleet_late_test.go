//go:build linux

package e2e

import (
	"testing"
	"time"

	"kvexpress/internal/fleet"
)

// receiptsThatComeLate: old receipts are written again, in any order. What counts is
// what the store has, and an agent makes it good with its next receipt. Taken out: that
// of what did not change nothing is done anew goes by the index; then a replay is not
// seen by a wait.
func receiptsThatComeLate(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	x.publish("hosts", version(1))
	x.configWith("web-1", fields{"reconcile": "10s"}, nil, fields{"key": "hosts", "file": x.path("hosts")})
	d := x.agent("web-1")
	x.fleet("hosts", 2)
	x.comesTo("hosts", "3 of 3")
	agents, hands := x.stands("web-1"), x.stands("honest-0")
	x.publish("hosts", version(2))
	x.fleet("hosts", 2)
	d.delivers("hosts", version(2))
	x.comesTo("hosts", "3 of 3")
	x.must(0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "5s")

	// The same once more changes nothing.
	same := x.stands("honest-1")
	for range 3 {
		x.store.put(same.Key, string(same.Value), same.Flags)
	}
	if s := x.status("hosts"); counts(s.Report) != "3 of 3" || len(s.Clocks) > 0 {
		t.Errorf("%s: %+v", counts(s.Report), s.Clocks)
	}

	// An old one after a newer one.
	x.store.put(hands.Key, string(hands.Value), hands.Flags)
	s := x.status("hosts")
	if counts(s.Report) != "2 of 3, 1 behind" || s.line("honest-0") == nil || s.line("honest-0").Version != 1 {
		t.Errorf("%s: %+v", counts(s.Report), s)
	}
	// A wait that counted version 2 counts version 1 now, and the other way round.
	ended := make(chan result, 1)
	go func() { ended <- x.as("status", "-k", "hosts", "--wait", "100%", "--timeout", "30s", "--json") }()
	x.report("honest-1", x.honest("honest-1", "hosts", func(r *fleet.Receipt) {
		r.Targets[0].Version, r.Targets[0].SHA256 = 1, sum(version(1))
	}))
	x.report("honest-0", x.honest("honest-0", "hosts"))
	pause(500 * time.Millisecond)
	select {
	case r := <-ended:
		t.Fatalf("honest-1 is behind again, and the wait ends: %s%s", r.stdout, r.stderr)
	default:
	}
	x.store.put(same.Key, string(same.Value), same.Flags)
	if r := <-ended; r.code != 0 || counts(x.told(r).Report) != "3 of 3" {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}

	// That of a live agent: its next one, within `reconcile`, says how it is.
	x.store.put(agents.Key, string(agents.Value), agents.Flags)
	if s := x.status("hosts"); counts(s.Report) != "2 of 3, 1 behind" {
		t.Errorf("a replay: %s", counts(s.Report))
	}
	x.must(9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "1s")
	if got := x.must(0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "20s"); got.stderr != "" {
		t.Errorf("status complains: %s", got.stderr)
	}
	x.holds("hosts", version(2))
}
