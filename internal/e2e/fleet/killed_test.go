//go:build linux

package fleet

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"kvexpress/internal/e2e"
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

func fleetOf(m *e2e.Machine) fleetStatus {
	m.T.Helper()
	r := m.Want(0, "status", "-k", "hosts", "--json")
	var s fleetStatus
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		m.T.Fatalf("status: %v\n%s\n%s", err, r.Stdout, r.Stderr)
	}
	return s
}

// reporters are agents of one machine, each with a file and a name of its own.
func reporters(m *e2e.Machine, n int) []*e2e.Daemon {
	m.T.Helper()
	var all []*e2e.Daemon
	for i := range n {
		name := fmt.Sprint("web-", i)
		m.Configure(name, e2e.Fields{"node": name, "reconcile": "10s"}, e2e.Fields{"key": "hosts", "file": m.Path(name + ".hosts")})
		all = append(all, m.Agent(name))
	}
	return all
}

// An agent that got kill -9 reports no more, and after what it promised, twice, it does
// not count. Taken out: that it is silent then.
func TestKilledAgentBecomesSilent(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("one", 20)))
	all := reporters(m, 3)
	e2e.Eventually(t, "all have reported", func() bool { return fleetOf(m).counts() == "3: 3 0 0 0, 0 0" })
	all[0].Kill()
	m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("two", 20)))
	m.Want(9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "3s")
	if got := fleetOf(m); got.counts() != "3: 2 0 1 0, 0 0" {
		t.Errorf("just killed: %s", got.counts())
	}
	took := e2e.Within(t, 2*time.Minute, "it is silent", func() bool { return fleetOf(m).Silent == 1 })
	if took < 30*time.Second {
		t.Errorf("silent after %s", took)
	}
	got := fleetOf(m)
	if got.counts() != "2: 2 0 0 0, 1 0" || got.Silents[0].Node != "web-0" {
		t.Errorf("%s, %+v", got.counts(), got)
	}
	m.Ok("status", "-k", "hosts", "--wait", "100%")
	m.Agent("web-0")
	m.Ok("status", "-k", "hosts", "--wait", "100%")
	e2e.Eventually(t, "it counts again", func() bool { return fleetOf(m).counts() == "3: 3 0 0 0, 0 0" })
}
