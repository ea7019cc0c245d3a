//go:build linux

package agent

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kvexpress/test/e2e"
)

// reload has the agent read its configuration again, and waits for a line of the log
// with all of these words.
func reload(d *e2e.Daemon, words ...string) {
	d.T.Helper()
	before := len(d.Said())
	d.Signal(syscall.SIGHUP)
	e2e.Eventually(d.T, "the agent says "+strings.Join(words, ", "), func() bool {
		for line := range strings.Lines(d.Said()[before:]) {
			missing := 0
			for _, word := range words {
				if !strings.Contains(line, word) {
					missing++
				}
			}
			if missing == 0 {
				return true
			}
		}
		return false
	})
}

// A reload with a mistake changes nothing and says where it is; a good one touches
// what changed, and nothing else.
func TestAgentReloads(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	m.Publish(e2e.Text("one", 20))
	m.Configure("agent", nil, e2e.Fields{"key": "hosts", "file": m.Path("a")})
	good := m.Read("agent.yml")
	d := m.Agent("agent")
	d.Delivers("a", e2e.Text("one", 20))

	m.File("agent.yml", "state_dir: /nonexistent\nmoed: 1\n")
	reload(d, "agent.yml:2", "moed", "refused")
	if said := d.Status().Config.Error; !strings.Contains(said, "agent.yml:2") {
		t.Errorf("the status says %q", said)
	}
	// The old one is in force.
	d.Delivers("a", m.Publish(e2e.Text("two", 20)))

	// A fragment: its target starts, and the other target is left alone.
	m.File("agent.yml", good)
	if err := os.Mkdir(m.Path("conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.File("conf.d/b.yml", "targets:\n  - {key: hosts, file: "+m.Path("b")+"}\n")
	was := d.Target("a")
	reload(d, "reloaded", "targets='2'")
	d.Delivers("b", e2e.Text("two", 20))
	if now := d.Target("a"); now.Counts.Reconciles != was.Counts.Reconciles || !now.Since.Equal(*was.Since) {
		t.Errorf("the other target was %+v, and is %+v", was, now)
	}
	if s := d.Status(); s.Config.Error != "" || len(s.Config.Files) != 2 {
		t.Errorf("the configuration is %+v", s.Config)
	}

	// The file of a removed target stays as it is.
	if err := os.Remove(m.Path("conf.d/b.yml")); err != nil {
		t.Fatal(err)
	}
	reload(d, "reloaded", "targets='1'")
	d.Delivers("a", m.Publish(e2e.Text("three", 20)))
	m.Holds("b", e2e.Text("two", 20))
	d.EndsWell()
}

// SIGTERM in the middle of an exec ends the exec too, with its children. The exec stays pending: the
// next agent runs it.
func TestAgentEndsItsExec(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	content := m.Publish(e2e.Text("one", 20))
	slow := m.Script("slow",
		"trap 'echo ended >>"+m.Path("execs")+"; exit 1' TERM\nsleep 600 &\necho $! >"+m.Path("child")+"\nwait\n")
	m.Configure("agent", nil, e2e.Fields{"key": "hosts", "file": m.Path("hosts"), "exec": slow})
	d := m.Agent("agent")
	e2e.Eventually(t, "the exec runs", func() bool { return m.Read("child") != "" })
	d.EndsWell()
	m.Holds("execs", "ended\n")
	m.Holds("hosts", content)
	child, err := strconv.Atoi(strings.TrimSpace(m.Read("child")))
	if err != nil {
		t.Fatal(err)
	}
	e2e.Eventually(t, "the exec's child has ended", func() bool { return syscall.Kill(child, 0) != nil })

	m.Script("slow", "echo \"done $KVEXPRESS_VERSION\" >>"+m.Path("execs")+"\n")
	d = m.Agent("agent")
	e2e.Eventually(t, "the exec is not pending any more", func() bool { return d.Target("hosts").Counts.ExecOK == 1 })
	d.Delivers("hosts", content)
	d.EndsWell()
	m.Holds("execs", "ended\ndone 1\n")
}
