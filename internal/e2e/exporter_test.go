//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	"kvexpress/internal/fleet"
)

// exported is a `kvexpress exporter` of a test: a process of its own.
type exported struct {
	t    testing.TB
	m    *machine
	cmd  *exec.Cmd
	done chan struct{}
	addr string
}

// exporter runs one until the test ends, and waits until it listens.
func (m *machine) exporter(args ...string) *exported {
	m.t.Helper()
	x := &exported{t: m.t, m: m, done: make(chan struct{})}
	out, err := os.OpenFile(m.path("exporter.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	x.cmd = exec.Command(program.path, append([]string{"exporter", "--listen", "127.0.0.1:0"}, args...)...) // not CommandContext: clean-ups end it
	x.cmd.Env, x.cmd.Dir, x.cmd.Stdout, x.cmd.Stderr = m.env, m.dir, out, out
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := x.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		defer close(x.done)
		_ = x.cmd.Wait()
	}()
	m.t.Cleanup(func() {
		_ = x.cmd.Process.Kill()
		<-x.done
		if m.t.Failed() {
			m.t.Logf("the log of the exporter:\n%s\n%s", m.read("exporter.log"), x.get("/metrics"))
		}
	})
	eventually(m.t, "the exporter listens", func() bool {
		found := regexp.MustCompile(`listening address=["']?(127[.0-9]+:[0-9]+)`).FindStringSubmatch(m.read("exporter.log"))
		if found != nil {
			x.addr = found[1]
		}
		return found != nil
	})
	return x
}

// get is a page, "" if there is none.
func (x *exported) get(path string) string {
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + x.addr + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// says waits until the metrics have all of these lines.
func (x *exported) says(lines ...string) {
	x.t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		now, missing := "\n"+x.get("/metrics"), ""
		for _, line := range lines {
			if !strings.Contains(now, "\nkvexpress_fleet_"+line+"\n") {
				missing = line
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(limit) {
			x.t.Fatalf("the exporter never says %s, but\n%s", missing, now)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// A fleet of two agents, one of them with an exec that fails, and of a node that is
// silent, as the exporter tells of it; while its store goes away and comes back.
func TestExporter(t *testing.T) {
	t.Parallel()
	s := consultest.Start(t, consultest.WithData())
	m := newMachine(t, s.Addr)
	// A node that reported an hour ago, and is not heard of any more. It comes first: a
	// receipt with an old time after newer ones would be a clock that is wrong.
	st := &store{t: t, server: s}
	old := fleet.Receipt{
		Node: "web-c", Sent: time.Now().Add(-time.Hour), Agent: &fleet.Agent{Version: "2.0.0", Every: fleet.Seconds(time.Minute)},
		Targets: []fleet.Target{{By: fleet.ByAgent, Key: "hosts", File: "/etc/hosts", State: "missing"}},
	}
	value, flags, err := old.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := st.request(http.MethodPut, fmt.Sprintf("/v1/kv/kvexpress-nodes/web-c?flags=%d", flags), value); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	x := m.exporter("--every", "5s", "--per-node")
	x.says("up 1", "receipts 1", `published{key="hosts"} 0`)

	content := m.publish(text("one", 20))
	m.configure("a", fields{"node": "web-a"}, fields{"key": "hosts", "file": m.path("a-hosts"), "exec": "true"})
	m.configure("b", fields{"node": "web-b"}, fields{"key": "hosts", "file": m.path("b-hosts"), "exec": "sh -c 'exit 3'"})
	a := m.agent("a")
	m.agent("b")
	a.delivers("a-hosts", content)
	x.says(`nodes{key="hosts"} 2`, `nodes_arrived{key="hosts"} 1`, `nodes_owed{key="hosts"} 1`, `stragglers{key="hosts",state="owed"} 1`,
		`node_verdict{key="hosts",node="web-b",verdict="owed"} 1`, `version{key="hosts"} 1`, `stopped{key="hosts"} 0`, `receipts 3`)

	m.ok("stop", "-k", "hosts", "-r", "bad data")
	m.ok("lock", "-f", m.path("a-hosts"), "-r", "looking into it")
	x.says(`nodes{key="hosts"} 2`, `nodes_silent{key="hosts"} 1`, `node_verdict{key="hosts",node="web-c",verdict="silent"} 1`, `stopped{key="hosts"} 1`, `locks 1`)
	if since := regexp.MustCompile(`stopped_since_timestamp_seconds\{key="hosts"\} [0-9]{9}`); !since.MatchString(x.get("/metrics")) {
		t.Error("it does not say since when the key is stopped")
	}

	// Without the store, it tells what it saw last, and that it sees nothing.
	s.Stop()
	x.says("up 0", `nodes_silent{key="hosts"} 1`)
	if x.get("/healthz") == "" || x.get("/readyz") == "" {
		t.Error("it is not healthy, or not ready any more")
	}
	s.Restart()
	x.says("up 1", `stopped{key="hosts"} 1`)
	m.ok("resume", "-k", "hosts")
	m.ok("unlock", "-f", m.path("a-hosts"))
	x.says(`stopped{key="hosts"} 0`, "locks 0")

	if err := x.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-x.done
	if code := x.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ends with %d", code)
	}
	for line := range strings.Lines(m.read("exporter.log")) {
		t.Log(strings.TrimSpace(line))
	}
}

// systemd is told that the exporter has begun, how it goes, that it is alive and that it
// ends; also without a store.
func TestExporterTellsSystemd(t *testing.T) {
	t.Parallel()
	n := newNotices(t)
	m := newMachine(t, "127.0.0.1:1", "NOTIFY_SOCKET="+n.addr, "WATCHDOG_USEC=600000")
	x := m.exporter()
	next := n.await(0, "READY=1")
	n.await(next, "STATUS=the fleet cannot be looked at: ")
	n.await(next, "WATCHDOG=1")
	if x.get("/readyz") != "" {
		t.Error("it is ready without having seen anything")
	}
	_ = x.cmd.Process.Signal(syscall.SIGTERM)
	<-x.done
	n.await(next, "STOPPING=1")
}
