package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/httpd"
	"kvexpress/internal/outcome"
)

// answering serves a handler on a free address until the test ends.
func answering(t *testing.T, addr string, h http.Handler) string {
	t.Helper()
	l, err := httpd.Listen(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- httpd.Serve(ctx, l, h, httpd.ForPages()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func statusOf(states ...outcome.Outcome) http.Handler {
	return agentPages(func() agent.Status {
		s := agent.Status{Version: "2.0.0", Node: "web-17", Started: time.Now()}
		for _, state := range states {
			s.Targets = append(s.Targets, agent.TargetStatus{Key: "hosts", File: "/etc/hosts.consul", Outcome: state})
		}
		return s
	}, func() error { return nil }, func() error { return nil }, true)
}

// runStatus runs `kvexpress agent status`.
func runStatus(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	app := App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: quietEnv}
	code = app.Run(t.Context(), append([]string{"agent", "status"}, args...))
	return code, out.String(), errs.String()
}

// The exit codes of --strict are a contract, as all are.
func TestAgentStatusExitCodes(t *testing.T) {
	want := map[outcome.Outcome]int{
		outcome.Converged: 0, outcome.Waiting: 0, outcome.Stopped: 0, outcome.Locked: 0,
		outcome.Missing: 5, outcome.Denied: 7, outcome.Unreachable: 7, outcome.Refused: 6, outcome.Older: 6, outcome.Pending: 8, outcome.Failed: 1,
		outcome.Starting: 1, "levitating": 1,
	}
	for _, state := range append(outcome.Reported(), "levitating") {
		if _, ok := want[state]; !ok {
			t.Errorf("no test for the outcome %s", state)
		}
		// the first bad one counts
		sock := answering(t, filepath.Join(t.TempDir(), "agent.sock"), statusOf(outcome.Converged, state, outcome.Missing, outcome.Stopped))
		code, stdout, stderr := runStatus(t, "--listen", sock)
		if code != 0 || stderr != "" || !strings.Contains(stdout, string(state)) || strings.Contains(stdout, "\x1b") {
			t.Errorf("%s: %d, %q, %q", state, code, stdout, stderr)
		}
		strict := want[state]
		if strict == 0 {
			strict = 5 // of the next one
		}
		code, stdout, stderr = runStatus(t, "--strict", "--listen", sock)
		if code != strict || !strings.HasPrefix(stderr, "kvexpress: ") || strings.Count(stderr, "\n") != 1 ||
			!strings.Contains(stdout, string(state)) {
			t.Errorf("%s: --strict ends with %d, want %d\n%s%s", state, code, strict, stdout, stderr)
		}
	}
	sock := answering(t, filepath.Join(t.TempDir(), "agent.sock"),
		statusOf(outcome.Converged, outcome.Stopped, outcome.Locked, outcome.Waiting))
	if code, _, stderr := runStatus(t, "--strict", "--listen", sock); code != 0 || stderr != "" {
		t.Errorf("a deliberate freeze ends with %d, %s", code, stderr)
	}
}

func TestAgentStatusJSON(t *testing.T) {
	const sent = `{"version":"3.0.0","node":"web-17","started":"2026-03-01T13:00:00Z","levitates":true,"store":{"addr":"\u001b[31m"},"targets":[{"key":"hosts","outcome":"missing"}]}`
	addr := answering(t, "127.0.0.1:0",
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, sent) }))
	for _, tt := range []struct {
		args []string
		code int
	}{{nil, 0}, {[]string{"--strict"}, 5}} {
		code, stdout, stderr := runStatus(t, append(tt.args, "--json", "--listen", addr)...)
		var got map[string]any
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
		if code != tt.code || got["exit_code"] != float64(tt.code) || got["node"] != "web-17" || got["levitates"] != true ||
			got["targets"] == nil {
			t.Errorf("%v: %d: %s", tt.args, code, stdout)
		}
		if _, ok := got["error"].(string); ok != (tt.code != 0) || ok != (stderr != "") {
			t.Errorf("%v: error is %v, stderr %q", tt.args, got["error"], stderr)
		}
		if strings.Contains(stdout, "\x1b") {
			t.Errorf("not printable: %q", stdout)
		}
	}
	code, stdout, _ := runStatus(t, "--json", "--listen", filepath.Join(t.TempDir(), "none"))
	var got map[string]any
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 1 || got["exit_code"] != float64(1) ||
		got["error"] == nil {
		t.Errorf("without an agent: %d, %v: %s", code, err, stdout)
	}
}

// If the agent does not answer, or is no agent, the error has a remedy.
func TestAgentStatusWithoutAnAgent(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	says := func(code int, body string) string {
		return answering(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1/")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}))
	}
	endless := answering(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
				return // the client has had enough
			}
		}
	}))
	mute, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	for _, tt := range []struct{ name, addr, want string }{
		{"no socket", filepath.Join(dir, "none"), "systemctl status"},
		{"a dead socket", stale, "systemctl status"},
		{"no agent on the port", "127.0.0.1:1", "systemctl status"},
		{"no address", "agent.sock", "host:port"},
		{"an odd address", "a b:1", "a b:1"},
		{"it does not answer", mute.Addr().String(), "5s"},
		{"a redirect", says(302, ""), "302"},
		{"not found", says(404, "404 \x1b[31mnot here\nat all"), `404 \x1b[31mnot here`},
		{"a page", says(200, "<html>"), "no agent"},
		{"nothing", says(200, ""), "no agent"},
		{"null", says(200, "null"), "no agent"},
		{"a list", says(200, "[]"), "no agent"},
		{"another program's object", says(200, `{"status":"green"}`), "no agent"},
		{"it never ends", endless, "8388608"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runStatus(t, "--listen", tt.addr)
			if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, tt.want) {
				t.Errorf("%d, %q, %q; want 1 and %q", code, stdout, stderr, tt.want)
			}
		})
	}
}

// For another user, the error says that permission is missing, not that no agent runs.
func TestAgentStatusOfAnotherUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "kvexpress") // others may not enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sock := answering(t, filepath.Join(dir, "agent.sock"), statusOf())
	var stderr string
	if os.Geteuid() != 0 {
		if err := os.Chmod(sock, 0); err != nil {
			t.Fatal(err)
		}
		_, _, stderr = runStatus(t, "--listen", sock)
	} else {
		stderr = statusAsNobody(t, dir, sock)
	}
	if !strings.Contains(stderr, sock) || !strings.Contains(stderr, "permission denied") {
		t.Errorf("got %q", stderr)
	}
}

// statusAsNobody runs this test binary, as kvexpress, as another user.
func statusAsNobody(t *testing.T, dir, sock string) (stderr string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self) // other users cannot read the folder of go test
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "kvexpress")
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "agent", "status", "--listen", sock)
	cmd.Dir, cmd.Env = "/", []string{"KVEXPRESS_SYSLOG=off", envState + "=/nowhere"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ends with %v: %s", err, errs.String())
	}
	return errs.String()
}

// The configuration says where the agent listens.
func TestAgentStatusReadsTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	sock := answering(t, filepath.Join(dir, "a b.sock"), statusOf(outcome.Locked))
	tcp := answering(t, "127.0.0.1:0", statusOf(outcome.Refused))
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("agent.yml", "listen: "+sock+"\nstate_dir: /var/lib/kvexpress\ntargets: []\n")
	overTCP := write("tcp.yml", "listen: "+tcp+"\nstate_dir: /var/lib/kvexpress\ntargets: []\n")
	none := write("none.yml", "listen: \"\"\nstate_dir: /var/lib/kvexpress\ntargets: []\n")
	broken := write("broken.yml", "listn: "+sock+"\n")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-C", good}, 0, "locked"},
		{[]string{"-C", overTCP}, 0, "refused"},
		{[]string{"-C", overTCP, "--listen", sock}, 0, "locked"},
		{[]string{"-C", broken, "--listen", sock}, 0, "locked"},
		{[]string{"-C", none}, 1, "listen"},
		{[]string{"-C", broken}, 1, "--listen"},
		{[]string{"-C", filepath.Join(dir, "nothing.yml")}, 1, "nothing.yml"},
	} {
		code, stdout, stderr := runStatus(t, tt.args...)
		if code != tt.code || !strings.Contains(stdout+stderr, tt.want) {
			t.Errorf("%v: %d, %s%s; want %d and %q", tt.args, code, stdout, stderr, tt.code, tt.want)
		}
	}
}
