package agent_test

import (
	"bufio"
	"io"
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
	var release io.Closer
	for try := 0; release == nil; try++ {
		if release = holdLock(t, lock); try == 10 {
			t.Fatal("the agent removed the lock folder again and again")
		}
	}
	n.publish("hosts", "two\n")
	until(t, "it waits", func() bool { return strings.Contains(n.status(0).Waits, "(flock)") })
	if !strings.Contains(n.log.String(), "(flock)") || n.file("hosts") != "one\n" {
		t.Errorf("the log does not tell:\n%s", n.log)
	}
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	n.current(0, "two\n")
	if s := n.state(0, outcome.Converged); s.Waits != "" {
		t.Errorf("it still waits for %s", s.Waits)
	}
}

// holdLock locks a lock folder with another process until it is closed; nil: the agent, whose last run was not over, has removed it.
func holdLock(t *testing.T, lock string) io.Closer {
	t.Helper()
	if err := os.MkdirAll(lock, 0o700); err != nil {
		t.Fatal(err)
	}
	made, _ := os.Stat(lock)
	other := exec.CommandContext(t.Context(), "flock", lock+"/", "sh", "-c", "echo locked; cat")
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
	t.Cleanup(func() { _ = other.Wait() })
	_, err = bufio.NewReader(out).ReadString('\n')
	if now, failed := os.Stat(lock); err != nil || failed != nil || !os.SameFile(made, now) {
		_ = release.Close()
		return nil
	}
	return release
}
