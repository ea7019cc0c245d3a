//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
)

// daemon is a `kvexpress agent` of a test: a process of its own.
type daemon struct {
	t    testing.TB
	m    *machine
	cmd  *exec.Cmd
	sock string
	log  string // path of what it says
	done chan struct{}
}

// fields are entries of an agent's configuration.
type fields map[string]any

// configure writes an agent.yml (JSON is YAML too) and returns its path. What is not
// given is such that an agent of a test disturbs nobody.
func (m *machine) configure(name string, config fields, targets ...fields) string {
	m.t.Helper()
	all := fields{"state_dir": m.path(name + ".state"), "listen": m.socket(name), "targets": targets}
	for k, v := range config {
		all[k] = v
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		m.t.Fatal(err)
	}
	return m.file(name+".yml", string(b))
}

// socket is where an agent of a name listens. The folder of a test can be too long a
// path for a socket.
func (m *machine) socket(name string) string {
	return filepath.Join(filepath.Dir(program.path), sum(m.path(name))[:16], "agent.sock")
}

// agent runs an agent with the configuration of that name until the test ends, and
// waits until it answers.
func (m *machine) agent(name string, before ...string) *daemon {
	m.t.Helper()
	return m.agentOf(program.path, name, before...)
}

func (m *machine) agentOf(binary, name string, before ...string) *daemon {
	m.t.Helper()
	d := &daemon{t: m.t, m: m, sock: m.socket(name), log: m.path(name + ".log"), done: make(chan struct{})}
	out, err := os.OpenFile(d.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	argv := append(slices.Clone(before), binary, "agent", "-C", m.path(name+".yml"))
	d.cmd = exec.Command(argv[0], argv[1:]...) // not CommandContext: clean-ups end it
	d.cmd.Env, d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = m.env, m.dir, out, out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // without clean-ups, as after a panic
	if err := d.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		defer close(d.done)
		_ = d.cmd.Wait() // it is killed, often
	}()
	m.t.Cleanup(func() {
		d.kill()
		if m.t.Failed() {
			m.t.Logf("the end of the log of the agent %s:\n%s", name, tail(d.said(), 30))
		}
	})
	eventually(m.t, "the agent answers", func() bool {
		if d.ended() {
			m.t.Fatalf("the agent ended: %v\n%s", d.cmd.ProcessState, tail(d.said(), 10))
		}
		_, err := d.ask(agent.HealthPath)
		return err == nil
	})
	return d
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// said is all that agents with this log have said.
func (d *daemon) said() string {
	b, _ := os.ReadFile(d.log)
	return string(b)
}

func (d *daemon) ended() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// kill is kill -9, and waits for the end.
func (d *daemon) kill() { d.signal(syscall.SIGKILL); <-d.done }

// stop is what systemd does.
func (d *daemon) stop() {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	eventually(d.t, "the agent ends", d.ended)
}

func (d *daemon) signal(s syscall.Signal) { _ = d.cmd.Process.Signal(s) } // it may have ended

// ask gets a page of the agent.
func (d *daemon) ask(path string) ([]byte, error) {
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

func (d *daemon) status() agent.Status {
	d.t.Helper()
	var s agent.Status
	body, err := d.ask(agent.StatusPath)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil {
		d.t.Fatalf("status: %v", err)
	}
	return s
}

// target is how the target of a file of this machine is.
func (d *daemon) target(file string) agent.TargetStatus {
	d.t.Helper()
	for _, target := range d.status().Targets {
		if target.File == d.m.path(file) {
			return target
		}
	}
	d.t.Fatalf("the agent has no target %s", file)
	return agent.TargetStatus{}
}

// becomes waits until a target is in a state.
func (d *daemon) becomes(file string, want agent.State) agent.TargetStatus {
	d.t.Helper()
	var now agent.TargetStatus
	eventually(d.t, file+" is "+string(want), func() bool {
		now = d.target(file)
		return now.State == want
	})
	return now
}

// delivers waits until a file holds what it should, and its target says so.
func (d *daemon) delivers(file, content string) {
	d.t.Helper()
	d.deliversWithin(time.Minute, file, content)
}

func (d *daemon) deliversWithin(limit time.Duration, file, content string) {
	d.t.Helper()
	want := sum(content)
	delivered := false
	defer func() {
		if !delivered {
			status, err := d.ask(agent.StatusPath)
			d.t.Logf("%s holds %s; status: %s %v", file, brief(d.m.read(file)), status, err)
		}
	}()
	within(d.t, limit, file+" is delivered", func() bool {
		if d.m.read(file) != content {
			return false
		}
		now := d.target(file)
		return now.State == agent.Current && now.SHA256 == want
	})
	delivered = true
}

// within is eventually with another limit.
func within(t testing.TB, limit time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > limit {
			t.Fatalf("waited in vain, for %v: %s", limit, what)
		}
		<-time.After(20 * time.Millisecond)
	}
	return time.Since(began)
}

// cpu is the CPU time that the process has used.
func (d *daemon) cpu() time.Duration {
	d.t.Helper()
	stat := d.proc("stat")
	// The second field, the name, may hold spaces; it ends with the last ")".
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks int64 // of a hundredth of a second
	for _, f := range fields[11:13] {
		var n int64
		if _, err := fmt.Sscan(string(f), &n); err != nil {
			d.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks*10) * time.Millisecond
}

// memory is a line of /proc/PID/status in KiB: VmHWM, the most that was ever
// resident, or RssAnon, what is without the program's own file.
func (d *daemon) memory(line string) int {
	d.t.Helper()
	for _, l := range strings.Split(string(d.proc("status")), "\n") {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			var kib int
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				d.t.Fatal(err)
			}
			return kib
		}
	}
	d.t.Fatalf("no %s in /proc/PID/status", line)
	return 0
}

// descriptors is how many files and sockets are open.
func (d *daemon) descriptors() int {
	d.t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	return len(all)
}

func (d *daemon) proc(name string) []byte {
	d.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", d.cmd.Process.Pid, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// metric is a sample without labels of /metrics.
func (d *daemon) metric(name string) float64 {
	d.t.Helper()
	page, err := d.ask(agent.MetricsPath)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, line := range strings.Split(string(page), "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var value float64
			if _, err := fmt.Sscan(rest, &value); err != nil {
				d.t.Fatal(err)
			}
			return value
		}
	}
	d.t.Fatalf("no %s in /metrics", name)
	return 0
}

// processes are the command lines of all that run on this machine.
func processes() []string {
	var all []string
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		b, _ := os.ReadFile(path) // it may have ended
		all = append(all, strings.ReplaceAll(string(b), "\x00", " "))
	}
	return all
}
