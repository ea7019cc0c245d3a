package install

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// The ad hoc flow: a file from a URL, onto every node, and a command there, now.
// `consul exec` runs it; agents take part only with disable_remote_exec false.
func TestAdHocWithConsulExec(t *testing.T) {
	t.Parallel()
	// A file of 600 lines, as the web has them: the last one without a newline.
	content := strings.TrimSuffix(e2e.Text("config", 601), "\n")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, content); err != nil {
			t.Errorf("serve the file: %v", err)
		}
	}))
	defer web.Close()

	// Each agent's own folder is $NODE_DIR in the commands that it runs.
	agent := func(bind string, role ...consultest.Option) (*consultest.Server, *e2e.Machine) {
		t.Helper()
		node := e2e.NewMachine(t, "")
		s := consultest.Start(t, append(role, consultest.WithBind(bind),
			consultest.WithConfig(map[string]any{"disable_remote_exec": false}),
			consultest.WithEnv(e2e.Quiet(node.Dir)...), consultest.WithEnv("NODE_DIR="+node.Dir))...)
		node.File("addr", s.Addr)
		return s, node
	}
	server, first := agent("127.0.0.21", consultest.WithServer(1))
	nodes := []*e2e.Machine{first}
	for _, bind := range []string{"127.0.0.22", "127.0.0.23", "127.0.0.24"} {
		_, node := agent(bind, consultest.WithClient(), consultest.WithJoin(server.SerfAddr))
		nodes = append(nodes, node)
	}

	admin := e2e.NewMachine(t, server.Addr)
	admin.Ok("in", "--prefix", "tmp", "--key", "config", "--length", "5", "--url", web.URL)
	command := e2e.Program.Path + ` out --prefix tmp --key config --length 5 -f $NODE_DIR/config` +
		` -e "touch $NODE_DIR/ran" -s $(cat $NODE_DIR/addr) --state-dir $NODE_DIR/state`
	out := consulExec(t, server, command)
	if !strings.Contains(out, "4 / 4 node(s) completed / acknowledged") {
		t.Errorf("consul exec says:\n%s", out)
	}
	for i, node := range nodes {
		node.Holds("config", content)
		if !strings.Contains(e2e.Tree(t, node.Dir, ""), node.Path("ran")+" ") {
			t.Errorf("node %d did not run the command", i)
		}
	}
}

func consulExec(t *testing.T, s *consultest.Server, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), e2e.RunTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Bin, "exec", "-http-addr", s.Addr, command)
	out, err := cmd.CombinedOutput()
	if err != nil { // it fails if the command failed on any node
		t.Errorf("consul exec: %v:\n%s", err, out)
	}
	return string(out)
}
