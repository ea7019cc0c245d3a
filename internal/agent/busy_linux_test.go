package agent_test

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// A target whose file another process has locked waits for it, and says so in its status and in the log.
func TestWaitsForAnotherProcess(t *testing.T) {
	t.Parallel()
	n := newNode(t, storeAddr(t), install.Target{Key: "hosts"})
	n.publish("hosts", "one\n")
	n.start()
	n.current(0, "one\n")
	lock := n.path(".hosts.kvexpress")
	if err := os.MkdirAll(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), "flock", lock, "sh", "-c", "echo locked; cat")
	release, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	n.publish("hosts", "two\n")
	until(t, "it waits", func() bool { return strings.Contains(n.status(0).Waits, "(flock)") })
	if !strings.Contains(n.log.String(), "(flock)") || n.file("hosts") != "one\n" {
		t.Errorf("the log does not tell:\n%s", n.log)
	}
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	n.current(0, "two\n")
	if s := n.state(0, outcome.Converged); s.Waits != "" {
		t.Errorf("it still waits for %s", s.Waits)
	}
}
