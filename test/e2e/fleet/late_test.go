//go:build linux

package fleet

import (
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/test/e2e"
)

// receiptsThatComeLate: old receipts are written again, in any order. The
// receipt in the store counts, and an agent replaces it with its next one. A wait recognises an
// unchanged receipt by its index: otherwise it would not notice an old receipt that is written
// again.
func receiptsThatComeLate(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	x.ConfigWith("web-1", e2e.Fields{"reconcile": "10s"}, nil, e2e.Fields{"key": "hosts", "file": x.Path("hosts")})
	d := x.Agent("web-1")
	putFleet(x, "hosts", 2)
	comesTo(x, "hosts", "3 of 3")
	agents, byHand := stored(x, "web-1"), stored(x, "honest-0")
	x.Publish("hosts", e2e.Version(2))
	putFleet(x, "hosts", 2)
	d.Delivers("hosts", e2e.Version(2))
	comesTo(x, "hosts", "3 of 3")
	must(x, 0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "30s")

	// The same once more changes nothing.
	same := stored(x, "honest-1")
	for range 3 {
		x.Store.Put(same.Key, string(same.Value), same.Flags)
	}
	if s := status(x, "hosts"); counts(s.Report) != "3 of 3" || len(s.Clocks) > 0 {
		t.Errorf("%s: %+v", counts(s.Report), s.Clocks)
	}

	// An old one after a newer one.
	x.Store.Put(byHand.Key, string(byHand.Value), byHand.Flags)
	s := status(x, "hosts")
	if counts(s.Report) != "2 of 3, 1 outdated" || s.line("honest-0") == nil || s.line("honest-0").Version != 1 {
		t.Errorf("%s: %+v", counts(s.Report), s)
	}
	// A wait that counted version 2 counts version 1 now, and the other way round.
	ended := make(chan e2e.Result, 1)
	go func() { ended <- as(x, "status", "-k", "hosts", "--wait", "100%", "--timeout", "30s", "--json") }()
	putReceipt(x, "honest-1", honest(x, "honest-1", "hosts", func(r *fleet.Receipt) {
		r.Targets[0].Version, r.Targets[0].SHA256 = 1, e2e.Sum(e2e.Version(1))
	}))
	putReceipt(x, "honest-0", honest(x, "honest-0", "hosts"))
	e2e.Pause(500 * time.Millisecond)
	select {
	case r := <-ended:
		t.Fatalf("honest-1 is behind again, and the wait ends: %s%s", r.Stdout, r.Stderr)
	default:
	}
	x.Store.Put(same.Key, string(same.Value), same.Flags)
	if r := <-ended; r.Code != 0 || counts(told(x, r).Report) != "3 of 3" {
		t.Errorf("exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}

	// The receipt of a live agent: its next one comes within `reconcile`.
	x.Store.Put(agents.Key, string(agents.Value), agents.Flags)
	if s := status(x, "hosts"); counts(s.Report) != "2 of 3, 1 outdated" {
		t.Errorf("a replay: %s", counts(s.Report))
	}
	must(x, 9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "1s")
	if got := must(x, 0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "60s"); got.Stderr != "" {
		t.Errorf("status complains: %s", got.Stderr)
	}
	x.Holds("hosts", e2e.Version(2))
}
