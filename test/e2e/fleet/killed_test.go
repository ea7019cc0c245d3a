//go:build linux

package fleet

import (
	"fmt"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// An agent that got kill -9 sends no receipts. After twice its promised interval it has no
// contact, and does not count.
func TestKilledAgentBecomesSilent(t *testing.T) {
	t.Parallel()
	x := lone(t).Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	var all []*e2e.Daemon
	for i := range 3 {
		name := fmt.Sprint("web-", i)
		x.ConfigWith(name, e2e.Fields{"reconcile": "10s"}, nil, e2e.Fields{"key": "hosts", "file": x.Path(name + ".hosts")})
		all = append(all, x.Agent(name))
	}
	comesTo(x, "hosts", "3 of 3")
	all[0].Kill()
	s, _ := inWait(x, 9, "hosts", e2e.Version(2), "--wait", "100%", "--timeout", "3s")
	if counts(s.Wait.Fleet) != "2 of 3, 1 outdated" || len(s.Wait.Fleet.Stragglers) != 1 ||
		s.Wait.Fleet.Stragglers[0].Node != "web-0" {
		t.Errorf("just killed: %+v", s.Wait)
	}
	x.Holds("web-0.hosts", e2e.Version(1))
	took := e2e.Within(t, 2*time.Minute, "it has no contact", func() bool { return status(x, "hosts").Outcomes[outcome.NoContact] == 1 })
	if took < 30*time.Second {
		t.Errorf("no contact after %s", took)
	}
	if s := status(x, "hosts"); counts(s.Report) != "2 of 2, 1 no_contact" || s.line("web-0") == nil {
		t.Errorf("%s, %+v", counts(s.Report), s)
	}
	must(x, 0, "status", "-k", "hosts", "--wait", "100%")
	x.Agent("web-0").Delivers("web-0.hosts", e2e.Version(2))
	must(x, 0, "status", "-k", "hosts", "--wait", "100%")
	comesTo(x, "hosts", "3 of 3")
}
