//go:build linux

package docs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// machine is a machine with the files of this one, but with its own changes to them, and with its own
// processes and network. A hub with a store and an agent run there, the agent in the sandbox of its
// unit. So commands run as they are written, with the addresses and paths of a real machine.
type machine struct {
	t      *testing.T
	folder string // of the example
	pid    int    // of the machine's init
}

func newMachine(t *testing.T, folder string) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount, and run these programs")
	}
	need(t, "ip nsenter")
	if e2e.Program.Err != nil {
		t.Fatal(e2e.Program.Err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	init := exec.CommandContext(ctx, "sh", "machine.sh", t.TempDir(), e2e.Program.Path, absolute(t, repository+"/systemd"))
	init.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "KVEXPRESS_SYSLOG=off"}
	init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	init.Stderr = os.Stderr
	stdout, err := init.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := init.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, folder: folder, pid: init.Process.Pid}
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := m.sh("tail -n 20 /run/*.log")
			t.Logf("the logs of its daemons:\n%s", logs)
		}
		cancel() // all processes of the machine end with its init
		_ = init.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the machine does not start: %q, %v", line, err)
	}
	return m
}

// sh runs commands on the machine, in the folder of the example, and returns what they print.
func (m *machine) sh(commands string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), e2e.RunTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "-t", fmt.Sprint(m.pid), "-m", "-n", "-p", "-u", "sh", "-e", "-c", "cd "+m.folder+"\n"+commands)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "KVEXPRESS_SYSLOG=off"}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return string(out), err
}

// ok wants the commands to succeed.
func (m *machine) ok(commands string) {
	m.t.Helper()
	if out, err := m.sh(commands); err != nil {
		m.t.Fatalf("%s\nends with %v\n%s", commands, err, out)
	}
}

// outcome is the outcome of the example's target.
func (m *machine) outcome() outcome.Outcome {
	m.t.Helper()
	var status agent.Status
	out, err := m.sh("kvexpress agent status --json")
	if err == nil {
		err = json.NewDecoder(strings.NewReader(out)).Decode(&status)
	}
	if err != nil || len(status.Targets) != 1 {
		m.t.Fatalf("agent status: %v\n%s", err, out)
	}
	return status.Targets[0].Outcome
}

// root is the path of a file of the machine, from outside.
func (m *machine) root(path string) string { return fmt.Sprintf("/proc/%d/root%s", m.pid, path) }

// read reads a file of the machine, and source one of the example.
func (m *machine) read(path string) string   { return content(m.t, m.root(path)) }
func (m *machine) source(name string) string { return content(m.t, filepath.Join(m.folder, name)) }
