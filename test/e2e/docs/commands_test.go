package docs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// Every command in a block of the kind sh is run, in order, and must succeed, unless a
// comment above it names another test. Files in /etc are in the test's folder, and the commands
// that they reload are programs of the test's own.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	for file, page := range documents(t) {
		var commands []string
		for _, b := range blocks(page) {
			if b.kind == "sh" && b.mark == "" {
				commands = append(commands, b.text)
			}
		}
		// TestHostsFilePage and TestExamples have the others.
		if len(commands) == 0 || file == "docs/hosts-file.md" || strings.HasPrefix(file, "examples/") {
			continue
		}
		t.Run(file, func(t *testing.T) {
			r := newReader(t)
			for _, text := range commands {
				r.follow(text)
			}
		})
	}
}

// reader is a person who follows the documents.
type reader struct {
	t      *testing.T
	m      *e2e.Machine
	url    string
	server *consultest.Server
	onNode string // the environment of commands that `consul exec` runs
}

func newReader(t *testing.T) *reader {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, e2e.Text("config", 600))
	}))
	t.Cleanup(web.Close)
	if e2e.Program.Err != nil {
		t.Fatal(e2e.Program.Err)
	}
	m := &e2e.Machine{T: t, Dir: t.TempDir()}
	for _, dir := range []string{"bin", "etc/consul-template/output", "etc/systemd/system", "etc/kvexpress"} {
		if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.Script("bin/pkill", "exit 0\n")
	m.Script("bin/kvexpress", fmt.Sprintf(`config=%[3]s/etc/kvexpress/agent.yml
case "$1" in
out|raw) exec %[1]s "$@" --state-dir %[2]s ;;
agent)
	grep -q ^state_dir $config || sed -i '1i state_dir: %[2]s\nlisten: %[3]s/agent.sock' $config
	case "$*" in *" -C "*) ;; *) set -- "$@" -C $config ;; esac ;;
esac
exec %[1]s "$@"
`, e2e.Program.Path, m.Path("state"), m.Dir))
	fakeSystemd(t, m)
	path := "PATH=" + m.Path("bin") + ":" + os.Getenv("PATH")
	server := consultest.Start(t, consultest.WithACL(), consultest.WithConfig(map[string]any{"disable_remote_exec": false}),
		consultest.WithEnv(append(e2e.Quiet(m.Dir), path)...))
	// As the last one on PATH, so that the test's own are found first.
	path += ":" + filepath.Dir(server.Bin)
	m.Env = append(e2e.Quiet(m.Dir), path, "CONSUL_HTTP_ADDR="+server.Addr, "CONSUL_HTTP_TOKEN="+server.ManagementToken)

	hosts := "127.0.0.1 localhost\n" + e2e.Text("web", 200)
	m.File("etc/consul-template/output/hosts.consul", hosts)
	m.File("hosts.new", hosts+"10.0.0.1 one-more\n")
	for _, file := range []string{"etc/consul-template/output/hosts.consul", "hosts.new"} {
		m.Ok("in", "-k", "hosts", "-f", m.Path(file))
	}
	// The node that they name, which has the file of another key: of hosts it waits for nothing.
	store := &e2e.Store{T: t, Server: server, Token: server.ManagementToken}
	store.Put("kvexpress-nodes/web-17", fmt.Sprintf(`{"format":1,"node":"web-17","sent":"2026-01-01T00:00:00Z","targets":[`+
		`{"by":"out","key":"other","file":%q,"outcome":"converged"}]}`, m.Path("etc/hosts.consul")), 0)
	m.File("etc/kvexpress/token", server.ManagementToken)
	issuer := e2e.NewIssuer(t)
	m.File("etc/kvexpress/jwt.json", issuer.Config())
	m.File("etc/kvexpress/node.jwt", issuer.Token("web-1"))
	// `consul exec` runs commands as the agent, who has no token of its own.
	return &reader{t: t, m: m, url: web.URL, server: server,
		onNode: "CONSUL_HTTP_TOKEN=$CONSUL_HTTP_TOKEN CONSUL_HTTP_ADDR=$CONSUL_HTTP_ADDR "}
}

// fakeSystemd makes a systemctl that does for the agent what its unit says, as far as
// the documents use it.
func fakeSystemd(t *testing.T, m *e2e.Machine) {
	t.Helper()
	units, err := filepath.Abs("../../../systemd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(units, m.Path("systemd")); err != nil {
		t.Fatal(err)
	}
	m.Script("bin/systemctl", fmt.Sprintf(`unit=$(ls /etc/systemd/system)
case "$*" in
daemon-reload) ;;
"enable --now ${unit%%.service}")
	kvexpress agent >%[1]s/agent.log 2>&1 &
	echo $! >%[1]s/agent.pid
	for i in $(seq 600); do if kvexpress agent status >/dev/null 2>&1; then exit 0; fi; sleep 0.1; done
	exit 1 ;;
"disable --now ${unit%%.service}") kill $(cat %[1]s/agent.pid) && rm %[1]s/agent.pid ;;
*) echo "this test knows no systemctl $*" >&2; exit 1 ;;
esac
`, m.Dir))
	m.File("bin/systemctl", strings.ReplaceAll(m.Read("bin/systemctl"), "/etc/", m.Path("etc")+"/"))
	t.Cleanup(func() {
		if pid, err := strconv.Atoi(strings.TrimSpace(m.Read("agent.pid"))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// follow runs one block, as it is written but for the folder and the URL.
func (r *reader) follow(block string) {
	r.t.Helper()
	script := strings.ReplaceAll(block, "/etc/", r.m.Path("etc")+"/")
	script = strings.ReplaceAll(script, "http://127.0.0.1:8000", r.url)
	script = strings.ReplaceAll(script, "/var/lib/kvexpress/store", r.m.Path("store"))
	for _, addr := range []string{"127.0.0.1:18500", "127.0.0.1:18610"} {
		script = strings.ReplaceAll(script, addr, freeAddr(r.t))
	}
	script = strings.ReplaceAll(script, `consul exec "`, `consul exec "`+r.onNode)
	ctx, cancel := context.WithTimeout(r.t.Context(), e2e.RunTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = r.m.Dir, r.m.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = cmd.Cancel() // ends what it started in the background
		r.t.Errorf("the documents say\n%s\nand that ends with: %v\n%s", block, err, out)
	}
}

// freeAddr is an address that was free a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// make demo says at once that it builds.
func TestMakeDemo(t *testing.T) {
	t.Parallel()
	m := &e2e.Machine{T: t, Dir: t.TempDir()}
	m.Script("go", "exit 3\n") // before it compiles
	cmd := exec.CommandContext(t.Context(), "make", "-s", "-C", "../../..", "demo", "BIN="+m.Path("bin"))
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "PATH="+m.Dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.HasPrefix(out, []byte("== building")) {
		t.Errorf("make demo prints, %v:\n%s", err, out)
	}
}

// Each example of the help is a command line that the program understands. What it does is
// tested elsewhere: here --help is added.
func TestExamplesOfHelp(t *testing.T) {
	t.Parallel()
	if e2e.Program.Err != nil {
		t.Fatal(e2e.Program.Err)
	}
	text := strings.ReplaceAll(documents(t)[reference], "\\\n", " ")
	examples := regexp.MustCompile(`(?m)^  (?:.* \| )?kvexpress [^|>\n]*`).FindAllString(text, -1)
	for _, example := range examples {
		if strings.HasSuffix(example, "[flags]") {
			continue // its usage
		}
		_, arguments, _ := strings.Cut(example, "kvexpress ")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", e2e.Program.Path+" "+arguments+" --help")
		cmd.Env = append(e2e.Quiet(t.TempDir()), "PATH="+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "\nUsage:") {
			t.Errorf("%s\nis not understood: %v\n%s", example, err, out)
		}
	}
	if len(examples) < 80 {
		t.Errorf("only %d examples were found", len(examples))
	}
}
