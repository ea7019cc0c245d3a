//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/httpd"
	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
)

// Daemon is a `kvexpress agent` of a test: a process of its own.
type Daemon struct {
	*consultest.Process
	T    testing.TB
	m    *Machine
	sock string
	Log  string // the path of its log
}

// Fields are entries of an agent's configuration.
type Fields map[string]any

// Configure writes an agent.yml (JSON is YAML too) and returns its path. Its
// defaults separate the agents of tests from each other and from the machine.
func (m *Machine) Configure(name string, config Fields, targets ...Fields) string {
	m.T.Helper()
	all := Fields{"state_dir": m.Path(name + ".state"), "listen": m.Socket(name), "targets": targets}
	for k, v := range config {
		all[k] = v
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		m.T.Fatal(err)
	}
	return m.File(name+".yml", string(b))
}

// Socket is where an agent of a name listens. The folder of a test can be too long a
// path for a socket.
func (m *Machine) Socket(name string) string {
	return filepath.Join(filepath.Dir(Program.Path), Sum(m.Path(name))[:16], "agent.sock")
}

// Agent runs an agent with the configuration of that name until the test ends, and
// waits until it answers.
func (m *Machine) Agent(name string, before ...string) *Daemon {
	m.T.Helper()
	return m.AgentOf(Program.Path, name, before...)
}

// AgentOf is Agent with another program.
func (m *Machine) AgentOf(binary, name string, before ...string) *Daemon {
	m.T.Helper()
	d := m.Start(name, append(slices.Clone(before), binary, "agent", "-C", m.Path(name+".yml"))...)
	Eventually(m.T, "the agent answers", func() bool {
		if d.Ended() {
			m.T.Fatalf("the agent ended: %v\n%s", d.Cmd.ProcessState, Tail(d.Said(), 10))
		}
		_, err := d.Ask(httpd.HealthPath)
		return err == nil
	})
	return d
}

// Start runs a process until the test ends.
func (m *Machine) Start(name string, argv ...string) *Daemon {
	m.T.Helper()
	d := &Daemon{T: m.T, m: m, sock: m.Socket(name), Log: m.Path(name + ".log")}
	var err error
	if d.Process, err = consultest.StartProcess(argv[0], argv[1:], m.Env, m.Dir, d.Log); err != nil {
		m.T.Fatal(err)
	}
	m.T.Cleanup(func() {
		d.Kill()
		if m.T.Failed() {
			m.T.Logf("the end of the log of %s:\n%s", name, Tail(d.Said(), 30))
		}
	})
	return d
}

// Tail is the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Said is the whole log of the agents with this log.
func (d *Daemon) Said() string {
	b, _ := os.ReadFile(d.Log)
	return string(b)
}

// Kill is kill -9, and waits for the end.
func (d *Daemon) Kill() { d.End(syscall.SIGKILL) }

// Stop ends the agent as systemd does, with SIGTERM.
func (d *Daemon) Stop() {
	d.T.Helper()
	d.Signal(syscall.SIGTERM)
	Eventually(d.T, "it ends", d.Ended)
}

// Ask gets a page of the agent.
func (d *Daemon) Ask(path string) ([]byte, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.sock)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://agent" + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return body, err
}

// Status is the status of the agent.
func (d *Daemon) Status() agent.Status {
	d.T.Helper()
	var s agent.Status
	body, err := d.Ask(httpd.StatusPath)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil {
		d.T.Fatalf("status: %v", err)
	}
	return s
}

// Target is the status of the target of a file of this machine.
func (d *Daemon) Target(file string) agent.TargetStatus {
	d.T.Helper()
	for _, target := range d.Status().Targets {
		if target.File == d.m.Path(file) {
			return target
		}
	}
	d.T.Fatalf("the agent has no target %s", file)
	return agent.TargetStatus{}
}

// Becomes waits until a target has an outcome.
func (d *Daemon) Becomes(file string, want outcome.Outcome) agent.TargetStatus {
	d.T.Helper()
	var now agent.TargetStatus
	Eventually(d.T, file+" is "+string(want), func() bool {
		now = d.Target(file)
		return now.Outcome == want
	})
	return now
}

// Delivers waits until a file has this content, and its target has converged.
func (d *Daemon) Delivers(file, content string) {
	d.T.Helper()
	want := Sum(content)
	delivered := false
	defer func() {
		if !delivered {
			status, err := d.Ask(httpd.StatusPath)
			d.T.Logf("%s holds %s; status: %s %v", file, Brief(d.m.Read(file)), status, err)
		}
	}()
	Eventually(d.T, file+" is delivered", func() bool {
		if d.m.Read(file) == content {
			now := d.Target(file)
			delivered = now.Outcome == outcome.Converged && now.SHA256 == want
		}
		return delivered
	})
}

// EndsWell ends it as systemd does, and wants exit code 0.
func (d *Daemon) EndsWell() {
	d.T.Helper()
	d.Stop()
	if code := d.Cmd.ProcessState.ExitCode(); code != 0 {
		d.T.Errorf("it ends with %d", code)
	}
}
