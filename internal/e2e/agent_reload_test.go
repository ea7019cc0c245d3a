//go:build linux

package e2e

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// publish publishes new content of the key hosts.
func (m *machine) publish(content string) string {
	m.t.Helper()
	m.ok("in", "-k", "hosts", "-l", "1", "-f", m.file("source", content))
	return content
}

// endsWell ends the agent as systemd does, and wants exit code 0.
func (d *daemon) endsWell() {
	d.t.Helper()
	d.stop()
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.t.Errorf("the agent ends with %d", code)
	}
}

// reload has the agent read its configuration again, and waits for a line of the log
// with all of these words.
func (d *daemon) reload(words ...string) {
	d.t.Helper()
	before := len(d.said())
	d.signal(syscall.SIGHUP)
	eventually(d.t, "the agent says "+strings.Join(words, ", "), func() bool {
		for line := range strings.Lines(d.said()[before:]) {
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
	_, m := start(t)
	m.publish(text("one", 20))
	m.configure("agent", nil, fields{"key": "hosts", "file": m.path("a")})
	good := m.read("agent.yml")
	d := m.agent("agent")
	d.delivers("a", text("one", 20))

	for mistake, words := range map[string][]string{
		"state_dir: /nonexistent\nmoed: 1\n": {"agent.yml:2", `unknown key "moed"`},
		good[:len(good)/2]:                   {"agent.yml:"},
		strings.Replace(good, m.path("agent.state"), m.path("other"), 1): {"state_dir", "restart"},
		"": {"agent.yml:1", "empty"},
	} {
		m.file("agent.yml", mistake)
		d.reload(append(words, "the configuration is refused, all stays as it was")...)
		if said := d.status().Config.Error; !strings.Contains(said, words[0]) {
			t.Errorf("the status says %q, want %q", said, words)
		}
	}
	// The old one is in force.
	d.delivers("a", m.publish(text("two", 20)))

	// A fragment: what it adds is begun, and nobody else notices.
	m.file("agent.yml", good)
	if err := os.Mkdir(m.path("conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.file("conf.d/b.yml", "targets:\n  - {key: hosts, file: "+m.path("b")+"}\n")
	was := d.target("a")
	d.reload("the configuration was read again", "targets='2'")
	d.delivers("b", text("two", 20))
	if now := d.target("a"); now.Counts.Passes != was.Counts.Passes || !now.Since.Equal(*was.Since) {
		t.Errorf("the other target was %+v, and is %+v", was, now)
	}
	if s := d.status(); s.Config.Error != "" || len(s.Config.Files) != 2 {
		t.Errorf("the configuration is %+v", s.Config)
	}

	// One with a mistake is named.
	m.file("conf.d/c.yml", "targets:\n  - key: hosts\n    flie: /nonexistent\n")
	d.reload("conf.d/c.yml:3", `did you mean "file"`)
	if err := os.Remove(m.path("conf.d/c.yml")); err != nil {
		t.Fatal(err)
	}

	// What is taken away is left alone.
	if err := os.Remove(m.path("conf.d/b.yml")); err != nil {
		t.Fatal(err)
	}
	d.reload("the configuration was read again", "targets='1'")
	d.delivers("a", m.publish(text("three", 20)))
	m.holds("b", text("two", 20))
	d.endsWell()
}

// SIGTERM in the middle of an exec ends the exec too, with its children, and it stays
// owed: the next agent runs it.
func TestAgentEndsItsExec(t *testing.T) {
	t.Parallel()
	_, m := start(t)
	content := m.publish(text("one", 20))
	slow := m.script("slow", "trap 'echo ended >>"+m.path("execs")+"; exit 1' TERM\nsleep 600 &\necho $! >"+m.path("child")+"\nwait\n")
	m.configure("agent", nil, fields{"key": "hosts", "file": m.path("hosts"), "exec": slow})
	d := m.agent("agent")
	eventually(t, "the exec runs", func() bool { return m.read("child") != "" })
	d.endsWell()
	m.holds("execs", "ended\n")
	m.holds("hosts", content)
	child, err := strconv.Atoi(strings.TrimSpace(m.read("child")))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the exec's child is gone", func() bool { return syscall.Kill(child, 0) != nil })

	m.script("slow", "echo \"done $KVEXPRESS_VERSION\" >>"+m.path("execs")+"\n")
	d = m.agent("agent")
	eventually(t, "the exec is owed no more", func() bool { return d.target("hosts").Counts.ExecOK == 1 })
	d.delivers("hosts", content)
	d.endsWell()
	m.holds("execs", "ended\ndone 1\n")

	// Once it ran, no other start runs it.
	d = m.agent("agent")
	d.delivers("hosts", content)
	d.endsWell()
	m.holds("execs", "ended\ndone 1\n")
}
