package install

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// The main flow: a watch of Consul's agent on the key's checksum runs
// `kvexpress out`, in both forms in which a watch names its handler.
func TestWatchDelivers(t *testing.T) {
	t.Parallel()
	for name, watch := range map[string]func(m *e2e.Machine, addr, exec string) map[string]any{
		// The form of 1.x's documentation. Consul runs it in a shell.
		"handler": func(m *e2e.Machine, addr, exec string) map[string]any {
			return map[string]any{"handler": fmt.Sprintf("%s out -k hosts -f %s -l 10 -c 00644 -e '%s' -s %s --state-dir %s >>%s 2>&1",
				e2e.Program.Path, m.Path("hosts"), exec, addr, m.Path("state"), m.Path("runs.log"))}
		},
		"args": func(m *e2e.Machine, addr, exec string) map[string]any {
			logged := m.Script("logged", fmt.Sprintf("exec %s \"$@\" >>%s 2>&1\n", e2e.Program.Path, m.Path("runs.log")))
			return map[string]any{"args": []any{logged, "out", "-k", "hosts", "-f", m.Path("hosts"), "-l", "10", "-c", "00644",
				"-e", exec, "-s", addr, "--state-dir", m.Path("state")}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := consultest.Start(t, consultest.WithEnv(e2e.Quiet(t.TempDir())...))
			m := e2e.NewMachine(t, s.Addr)
			handler := watch(m, s.Addr, m.Script("count", "echo \"$KVEXPRESS_KEY $KVEXPRESS_VERSION\" >>"+m.Path("execs")+"\n"))
			handler["type"], handler["key"] = "key", "/kvexpress/hosts/checksum"
			config, err := json.Marshal(map[string]any{"watches": []any{handler}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.Config, config, 0o600); err != nil {
				t.Fatal(err)
			}
			s.Reload()
			watchDelivers(t, s, m)
		})
	}
}

func watchDelivers(t *testing.T, s *consultest.Server, m *e2e.Machine) {
	ran := func(text string, count int) func() bool {
		return func() bool { return strings.Count(m.Read("runs.log"), text) == count }
	}
	// The watch fires once when it is set up.
	e2e.Eventually(t, "the handler runs before there is a key", ran("no such key", 1))
	content := e2e.Text("first", 30)
	m.Ok("in", "-k", "hosts", "-f", m.File("source", content))
	e2e.Eventually(t, "the watch delivers version 1", ran("installed version 1", 1))
	m.Holds("hosts", content)
	m.Holds("execs", "hosts 1\n")
	if mode := e2e.Stat(t, m.Path("hosts")).Mode(); mode != 0o644 {
		t.Errorf("the mode is %v, want -rw-r--r--", mode)
	}

	// A reload of the agent fires every watch again: nothing may be written then.
	before := e2e.Tree(t, m.Dir, "runs.log")
	was := e2e.Stat(t, m.Path("hosts"))
	s.Reload()
	e2e.Eventually(t, "the handler runs again", ran("unchanged", 1))
	if after := e2e.Tree(t, m.Dir, "runs.log"); after != before {
		t.Errorf("with nothing to do, something was written. Before:\n%s\nafter:\n%s", before, after)
	}
	if !os.SameFile(was, e2e.Stat(t, m.Path("hosts"))) {
		t.Error("with nothing to do, the file was replaced")
	}
	m.Holds("execs", "hosts 1\n")

	// The control: the same check of the files notices a change.
	m.File("hosts", "somebody edited this\n")
	s.Reload()
	e2e.Eventually(t, "the edited file is repaired", ran("installed version 1", 2))
	m.Holds("hosts", content)
	m.Holds("execs", "hosts 1\nhosts 1\n")
	if e2e.Tree(t, m.Dir, "runs.log") == before {
		t.Error("a repair cannot be told from nothing: this test sees nothing")
	}

	content = e2e.Text("second", 30)
	m.Ok("in", "-k", "hosts", "-f", m.File("source", content))
	e2e.Eventually(t, "the watch delivers version 2", ran("installed version 2", 1))
	m.Holds("hosts", content)
	m.Holds("execs", "hosts 1\nhosts 1\nhosts 2\n")

	// The end of a stop wakes it, although the version was published before.
	m.Ok("stop", "-k", "hosts", "-r", "version 2 is bad")
	m.Ok("rollback", "-k", "hosts", "--ignore-stop")
	e2e.Eventually(t, "the stop holds the rollback back", ran("is stopped: version 2 is bad", 1))
	m.Ok("resume", "-k", "hosts")
	e2e.Eventually(t, "the watch delivers the rollback", ran("installed version 3", 1))

	// A stop ends without a write of the checksum, because the token lacks that right: the remedy
	// of status works.
	m.Ok("stop", "-k", "hosts", "-r", "once more")
	m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("third", 30)), "--ignore-stop")
	e2e.Eventually(t, "the stop holds version 4 back", ran("is stopped: once more", 1))
	if status, answer, err := s.Request("DELETE", "/v1/kv/kvexpress/hosts/stop", "", nil); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	if got := m.Ok("status", "-k", "hosts"); !strings.Contains(got, "`kvexpress resume -k hosts`") || !strings.Contains(got, "resumed") {
		t.Errorf("status does not advise to wake the watch: %s", got)
	}
	m.Ok("resume", "-k", "hosts")
	m.Ok("status", "-k", "hosts", "--wait", "100%")
	m.Holds("hosts", e2e.Text("third", 30))
}
