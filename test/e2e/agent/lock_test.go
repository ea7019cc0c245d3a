//go:build linux

package agent

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// named are the words before a command that make it run under another host name, for
// itself alone, and that name. Where that may not be, it is this machine's own.
func named(t *testing.T) (before []string, name string) {
	t.Helper()
	name = "web-17"
	before = []string{"unshare", "--uts", "sh", "-c", "echo " + name + ` >/proc/sys/kernel/hostname && exec "$@"`, "sh"}
	if err := exec.Command(before[0], append(before[1:], "true")...).Run(); err != nil {
		t.Logf("the agent has this machine's own name, unshare: %v", err)
		return nil, e2e.Hostname(t)
	}
	return before, name
}

// An operator on another machine locks a file of a node for a time. The agent leaves the file as
// it is. It delivers by itself when the time is over, without any other event, or at once when
// the lock is removed. Without the end in the lock's flags, or without the agent's timer for it,
// nothing would be delivered in time.
func TestLockFromElsewhere(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t)
	before, node := named(t)
	m.Publish(e2e.Text("one", 20))
	m.Configure("agent", e2e.Fields{"state_dir": m.Path("state")}, e2e.Fields{"key": "hosts", "file": m.Path("hosts")})
	d := m.Agent("agent", before...)
	d.Delivers("hosts", e2e.Text("one", 20))
	operator := e2e.NewMachine(t, s.Server.Addr)
	hosts := m.Path("hosts")
	e2e.Eventually(t, "the node has reported", func() bool { return s.Get("kvexpress-nodes/"+node) != nil })

	const last = 5 * time.Second
	from := time.Now()
	said := operator.Ok("lock", "-f", hosts, "--node", node, "-r", "its disk", "--for", last.String(), "--json")
	var lock struct{ Node, Since, Until string }
	if err := json.Unmarshal([]byte(said), &lock); err != nil || lock.Node != node {
		t.Fatalf("%+v, %v", lock, err)
	}
	until, err := time.Parse(time.RFC3339, lock.Until)
	if err != nil {
		t.Fatal(err)
	}
	if set, err := time.Parse(time.RFC3339, lock.Since); err != nil || set.Before(from.Truncate(time.Second)) ||
		set.After(time.Now()) {
		t.Errorf("it is locked since %v, %v", set, err)
	}
	content := m.Publish(e2e.Text("two", 20))
	if now := d.Becomes("hosts", outcome.Locked); !strings.Contains(now.Detail, "its disk") ||
		!strings.Contains(now.Detail, lock.Until) {
		t.Errorf("the agent says %q", now.Detail)
	}
	e2e.Pause(time.Second) // for the reconciles after the lock and the publish
	reconciles := d.Target("hosts").Counts.Reconciles
	if got := operator.Ok("locks", "-f", hosts); !strings.Contains(got, node) || !strings.Contains(got, "its disk") {
		t.Errorf("locks says %s", got)
	}
	// No reconcile is due by then: only the end of the lock can wake the agent.
	e2e.Within(t, time.Until(until)+20*time.Second, "it is delivered", func() bool { return m.Read("hosts") == content })
	late := time.Since(until)
	if late < 0 {
		t.Errorf("it is delivered %v before the end of the lock", -late)
	}
	d.Delivers("hosts", content)
	// Only that end woke it.
	if now := d.Target("hosts").Counts.Reconciles; now > reconciles+2 {
		t.Errorf("%d reconciles while it waited", now-reconciles)
	}
	t.Logf("the lock is over: delivered after %v", late.Round(time.Millisecond))
	if got := operator.Ok("locks", "-f", hosts); !strings.Contains(got, "expired") {
		t.Errorf("locks says %s", got)
	}

	// A lock without an end stays until it is removed.
	operator.Ok("lock", "-f", hosts, "--node", node, "-r", "its disk")
	content = m.Publish(e2e.Text("three", 20))
	d.Becomes("hosts", outcome.Locked)
	m.Holds("hosts", e2e.Text("two", 20))
	operator.Ok("unlock", "-f", hosts, "--node", node)
	d.Delivers("hosts", content)
	if got := operator.Ok("locks"); strings.Contains(got, hosts) {
		t.Errorf("locks says %s", got)
	}

	// The control: the lock of another node of the fleet holds nothing here.
	operator.Ok("lock", "-f", hosts, "--node", node+"-b", "--force", "-r", "its disk")
	d.Delivers("hosts", m.Publish(e2e.Text("four", 20)))
}
