//go:build linux

package hub

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/test/e2e"
)

// A node that is killed, or hangs, is named by its hub and by the peer of its hub: by status, as a metric, and by status --node.
// A hub calls a node gone 30 s after its last sign and names it 70 s later, so within two minutes.
func TestDeadNodeIsNamed(t *testing.T) {
	t.Parallel()
	x := start(t)
	first := x.Hub("hub-a")
	second := x.Hub("hub-b", "--peers", first.Addr)
	x.Publish("hosts", e2e.Version(1))
	names := []string{"killed", "hangs", "well"}
	nodes := map[string]*e2e.Daemon{}
	for _, name := range names {
		nodes[name] = node(x, name, e2e.Fields{"node": name}, first.Addr)
		nodes[name].Delivers(name+"-hosts", e2e.Version(1))
	}
	for _, h := range []*e2e.Hub{first, second} {
		e2e.Eventually(t, "the hub counts all nodes", func() bool { return report(x, h.Addr, "hosts").Converged == len(names) })
	}
	nodes["killed"].Kill()
	nodes["hangs"].Signal(syscall.SIGSTOP)
	defer nodes["hangs"].Signal(syscall.SIGCONT)
	for _, h := range []*e2e.Hub{first, second} {
		e2e.Within(t, 2*time.Minute, "the hub names both", func() bool {
			r := report(x, h.Addr, "hosts")
			return r.Nodes == 1 && len(r.NoContact) == 2 && r.NoContact[0].Node == "hangs" && r.NoContact[1].Node == "killed"
		})
		if r := x.Run("status", "--node", "killed", "--hub", h.Addr); !strings.Contains(r.Stdout, "no contact") {
			t.Errorf("status --node: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		e2e.Eventually(t, "the metric says so", func() bool {
			return strings.Contains(h.Get("/metrics"), `kvexpress_fleet_nodes{key="hosts",outcome="no_contact"} 2`)
		})
	}
	nodes["hangs"].Signal(syscall.SIGCONT)
	e2e.Eventually(t, "the one that hung is back", func() bool { return report(x, first.Addr, "hosts").Converged == 2 })
}
