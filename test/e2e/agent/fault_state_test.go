//go:build linux

package agent

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// damage is a fault of a state file, and whether a pending exec is still known after it.
type damage struct {
	name     string
	do       func(t *testing.T, path string, older []byte)
	forgiven bool // the pending exec is forgotten: the file is adopted as it is
}

func damages() []damage {
	remove := func(t *testing.T, path string, _ []byte) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	return []damage{
		{name: "truncated", do: func(t *testing.T, path string, _ []byte) {
			b := get(t, path)
			put(t, path, string(b[:rand.N(len(b)-1)+1]))
		}},
		{name: "rolled back", do: func(t *testing.T, path string, older []byte) { put(t, path, string(older)) }},
		{name: "missing", do: remove, forgiven: true},
		{name: "missing with its folder", do: func(t *testing.T, path string, _ []byte) {
			remove(t, filepath.Dir(path), nil)
		}, forgiven: true},
	}
}

func get(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// agentStateDamaged: with a damaged state file, under an agent that runs and under one that starts,
// the target is whole, and an exec runs once too often rather than never. If a damaged file counted
// as a missing one, execs would be forgotten.
func agentStateDamaged(t *testing.T, c *e2e.Cluster) {
	parts := e2e.Parts{}
	for _, d := range damages() {
		parts[d.name] = func(t *testing.T) { stateDamaged(t, c, d) }
	}
	e2e.Together(t, parts)
}

// remembering is an agent with one file, whose exec fails as long as there is a file
// "broken".
func remembering(t *testing.T, c *e2e.Cluster) (x *e2e.Site, d *e2e.Daemon, state string) {
	t.Helper()
	x = c.Site(t, 0)
	exec := x.Script("hash", "test ! -e "+x.Path("broken")+" && sha256sum "+x.Path("hosts")+" >>"+x.Path("hash.ran")+"\n")
	agentConfig(x, "agent", nil, to(x, "hosts", e2e.Fields{"exec": exec}))
	x.Publish("hosts", e2e.Version(1))
	d = x.Agent("agent")
	d.Delivers("hosts", e2e.Version(1))
	found, err := filepath.Glob(x.Path("agent.state/targets/*.json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("state files: %q, %v", found, err)
	}
	return x, d, found[0]
}

func stateDamaged(t *testing.T, c *e2e.Cluster, how damage) {
	x, d, state := remembering(t, c)
	older := get(t, state)
	x.Publish("hosts", e2e.Version(2))
	d.Delivers("hosts", e2e.Version(2))

	how.do(t, state, older)
	x.Publish("hosts", e2e.Version(3))
	d.Delivers("hosts", e2e.Version(3))
	e2e.Eventually(t, "the exec runs for version 3", func() bool { return ranLast(x, "hash", "hosts", e2e.Version(3)) })

	how.do(t, state, older)
	d.Stop()
	x.Holds("hosts", e2e.Version(3))
	d = x.Agent("agent")
	d.Delivers("hosts", e2e.Version(3))
	if !ranLast(x, "hash", "hosts", e2e.Version(3)) {
		t.Error("the exec ran for other bytes than those in place")
	}

	// The damage comes while an exec is pending.
	x.File("broken", "")
	x.Publish("hosts", e2e.Version(4))
	d.Becomes("hosts", outcome.Pending)
	how.do(t, state, older)
	d.Stop()
	if err := os.Remove(x.Path("broken")); err != nil {
		t.Fatal(err)
	}
	d = x.Agent("agent")
	d.Delivers("hosts", e2e.Version(4))
	if !how.forgiven && !ranLast(x, "hash", "hosts", e2e.Version(4)) {
		t.Error("a pending exec was forgotten")
	}
	x.Publish("hosts", e2e.Version(5))
	d.Delivers("hosts", e2e.Version(5))
	e2e.Eventually(t, "the exec runs for version 5", func() bool { return ranLast(x, "hash", "hosts", e2e.Version(5)) })
	if litter := litter(x); len(litter) > 0 {
		t.Errorf("left behind: %q", litter)
	}
}
