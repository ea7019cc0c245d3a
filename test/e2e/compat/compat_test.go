//go:build linux

package compat

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// An agent follows a hub of the other version. Then its machine is upgraded, or goes back: the other version takes over the
// file without writing it or running its exec again.
func TestAgentAndHub(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, agent, hub string) {
		m := start(t)
		h := m.HubOf(m.programs[hub], "hub")
		m.Configure("node", e2e.Fields{"node": "node", "hubs": []string{h.Addr}, "direct": false, "stores": []string{"127.0.0.1:1"}},
			e2e.Fields{"key": "hosts", "file": m.Path("hosts"), "min_lines": 1, "exec": []string{m.Script("exec", "echo ran >>"+m.Path("execs")+"\n")}})
		d := m.AgentOf(m.programs[agent], "node")
		d.Delivers("hosts", m.publish(agent, e2e.Text("one", 20)))

		m.run(hub, 0, "stop", "-k", "hosts", "-r", "bad data")
		two := m.publish(hub, e2e.Text("two", 20), "--ignore-stop")
		d.Becomes("hosts", outcome.Stopped)
		m.run(agent, 0, "resume", "-k", "hosts")
		d.Delivers("hosts", two)
		three := m.publish(hub, e2e.Text("three", 20), "--hub", h.Addr, "--wait", "100%")
		for _, which := range []string{agent, hub} {
			m.run(which, 0, "status", "-k", "hosts", "--hub", h.Addr, "--wait", "100%")
			m.run(which, 0, "status", "-k", "hosts", "--wait", "100%") // the receipt in Consul
			m.converged(which, 1)
		}

		before := e2e.Stat(t, m.Path("hosts"))
		d.Stop()
		d = m.AgentOf(m.programs[hub], "node")
		d.Delivers("hosts", three)
		if !os.SameFile(before, e2e.Stat(t, m.Path("hosts"))) {
			t.Error("the other version wrote the file again")
		}
		m.Holds("execs", strings.Repeat("ran\n", 3))
		d.Delivers("hosts", m.publish(agent, e2e.Text("four", 20)))
		m.Holds("execs", strings.Repeat("ran\n", 4))
	})
}

// converged wants that a program knows of so many nodes, all converged.
func (m machine) converged(which string, nodes int) {
	m.T.Helper()
	var r fleet.Report
	if err := json.Unmarshal([]byte(m.run(which, 0, "status", "-k", "hosts", "--json")), &r); err != nil {
		m.T.Fatal(err)
	}
	if r.Nodes != nodes || r.Converged != nodes {
		m.T.Errorf("status of %s: %d of %d nodes have converged, want %d", which, r.Converged, r.Nodes, nodes)
	}
}

// One version publishes and the other one installs, without a hub: plain, brotli and zstd, stops, locks and past versions.
func TestInAndOut(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, in, out string) {
		m := start(t)
		m.Configure("node", e2e.Fields{"node": "node"}, e2e.Fields{"key": "hosts", "file": m.Path("agent-hosts"), "min_lines": 1})
		d := m.AgentOf(m.programs[out], "node")
		install := func(code int) string {
			t.Helper()
			return m.run(out, code, "out", "-k", "hosts", "-f", m.Path("hosts"), "-l", "1", "--strict")
		}
		for name, flags := range map[string][]string{"plain": nil, "brotli": {"-z"}, "zstd": {"--encoding", "zstd"}} {
			content := m.publish(in, e2e.Text(name, 20), flags...)
			install(0)
			m.Holds("hosts", content)
			d.Delivers("agent-hosts", content)
		}

		m.run(in, 0, "stop", "-k", "hosts", "-r", "bad data")
		held := m.publish(in, e2e.Text("held", 20), "--ignore-stop")
		install(3)
		d.Becomes("agent-hosts", outcome.Stopped)
		m.run(out, 0, "resume", "-k", "hosts")
		d.Delivers("agent-hosts", held)
		install(0)
		m.Holds("hosts", held)
		m.run(in, 0, "lock", "-f", m.Path("hosts"), "-r", "looking into it")
		m.publish(in, e2e.Text("late", 20))
		install(4)
		m.run(out, 0, "unlock", "-f", m.Path("hosts"))
		install(0)
		m.Holds("hosts", e2e.Text("late", 20))

		m.says(out, "5 ", "history", "-k", "hosts")
		m.run(out, 0, "rollback", "-k", "hosts", "--to", "1")
		first := m.run(in, 0, "show", "-k", "hosts")
		d.Delivers("agent-hosts", first)
		m.says(in, "6 ", "history", "-k", "hosts")
		m.run(in, 0, "diff", "-k", "hosts", "1", "5")
		m.says(in, "  resume ", "history", "-k", "hosts", "--events")
	})
}

// An exec that is pending when a machine is upgraded, or goes back, runs then.
func TestPendingExec(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, before, after string) {
		m := start(t)
		m.publish(before, e2e.Text("one", 20))
		out := []string{"out", "-k", "hosts", "-f", m.Path("hosts"), "-l", "1", "-e", m.Path("exec")}
		m.Script("exec", "exit 1\n")
		m.run(before, 8, out...)
		m.Script("exec", "echo ran >>"+m.Path("execs")+"\n")
		m.run(after, 0, out...)
		m.Holds("execs", "ran\n")
		m.run(before, 0, out...)
		m.Holds("execs", "ran\n")
	})
}

// A hub opens the data folder that the other version wrote.
func TestDataFolder(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, before, after string) {
		m := machine{e2e.NewMachine(t, ""), kvexpress(t)}
		var content string
		for i, which := range []string{before, after, before} {
			h := m.HubOf(m.programs[which], fmt.Sprint("hub-", i), "--data-dir", m.Path("data"))
			m := machine{m.With("CONSUL_HTTP_ADDR=" + h.Addr), m.programs}
			if content != "" {
				m.run(which, 0, "out", "-k", "hosts", "-f", m.Path("hosts"), "-l", "1")
				m.Holds("hosts", content)
			}
			content = m.publish(which, e2e.Text(which+content[:min(len(content), 9)], 20))
			h.Stop()
		}
	})
}
