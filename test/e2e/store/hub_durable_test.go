//go:build linux

package store

import (
	"path/filepath"
	"testing"

	"kvexpress/test/e2e"
)

// An agent outlives its store: a version that is published after a kill and a restart arrives, and past versions are kept.
func TestServeRestartsUnderAnAgent(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serve(t, "--data-dir", data)
	m := e2e.NewMachine(t, s.addr)
	m.Publish("one\n")
	m.Configure("a", nil, e2e.Fields{"key": "hosts", "file": m.Path("hosts"), "min_lines": 1})
	a := m.Agent("a")
	defer a.EndsWell()
	arrives := func(content string) {
		t.Helper()
		e2e.Eventually(t, "the agent has "+content, func() bool { return m.Read("hosts") == content })
	}
	arrives("one\n")
	for _, content := range []string{"two\n", "three\n"} {
		s.Kill()
		s = serve(t, "--data-dir", data, "--listen", s.addr)
		arrives(m.Publish(content))
	}
	if got := m.Ok("show", "-k", "hosts", "--version", "1"); got != "one\n" {
		t.Errorf("version 1 is %q", got)
	}
}
