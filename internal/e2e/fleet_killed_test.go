//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// fleetStatus is what a test looks at in `kvexpress status --json`.
type fleetStatus struct {
	Nodes, Arrived, Owed, Behind, Unsound, Silent, Gone int
	Silents                                             []struct{ Node string } `json:"silent_nodes"`
}

// counts is nodes, arrived, owed, behind, unsound, silent, gone.
func (s fleetStatus) counts() string {
	return fmt.Sprintf("%d: %d %d %d %d, %d %d", s.Nodes, s.Arrived, s.Owed, s.Behind, s.Unsound, s.Silent, s.Gone)
}

func (m *machine) fleet() fleetStatus {
	m.t.Helper()
	r := m.want(0, "status", "-k", "hosts", "--json")
	var s fleetStatus
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		m.t.Fatalf("status: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	return s
}

// reporters are agents of one machine, each with a file and a name of its own.
func (m *machine) reporters(n int) []*daemon {
	m.t.Helper()
	var all []*daemon
	for i := range n {
		name := fmt.Sprint("web-", i)
		m.configure(name, fields{"node": name, "reconcile": "10s"}, fields{"key": "hosts", "file": m.path(name + ".hosts")})
		all = append(all, m.agent(name))
	}
	return all
}

// An agent that got kill -9 reports no more, and after what it promised, twice, it does
// not count. Taken out: that it is silent then.
func TestKilledAgentBecomesSilent(t *testing.T) {
	t.Parallel()
	_, m := start(t)
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
	all := m.reporters(3)
	eventually(t, "all have reported", func() bool { return m.fleet().counts() == "3: 3 0 0 0, 0 0" })
	all[0].kill()
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("two", 20)))
	m.want(9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "3s")
	if got := m.fleet(); got.counts() != "3: 2 0 1 0, 0 0" {
		t.Errorf("just killed: %s", got.counts())
	}
	took := within(t, 2*time.Minute, "it is silent", func() bool { return m.fleet().Silent == 1 })
	if took < 30*time.Second {
		t.Errorf("silent after %s", took)
	}
	got := m.fleet()
	if got.counts() != "2: 2 0 0 0, 1 0" || got.Silents[0].Node != "web-0" {
		t.Errorf("%s, %+v", got.counts(), got)
	}
	m.ok("status", "-k", "hosts", "--wait", "100%")
	m.agent("web-0")
	m.ok("status", "-k", "hosts", "--wait", "100%")
	eventually(t, "it counts again", func() bool { return m.fleet().counts() == "3: 3 0 0 0, 0 0" })
}
