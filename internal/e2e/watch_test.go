package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvexpress/internal/consultest"
)

// The main flow: a watch of Consul's agent on the key's checksum runs
// `kvexpress out`, in both forms in which a watch names its handler.
func TestWatchDelivers(t *testing.T) {
	t.Parallel()
	for name, watch := range map[string]func(m *machine, addr, exec string) map[string]any{
		// What 1.x's documentation shows. Consul runs it in a shell.
		"handler": func(m *machine, addr, exec string) map[string]any {
			return map[string]any{"handler": fmt.Sprintf("%s out -k hosts -f %s -l 10 -c 00644 -e '%s' -s %s --state-dir %s >>%s 2>&1",
				program.path, m.path("hosts"), exec, addr, m.path("state"), m.path("runs.log"))}
		},
		"args": func(m *machine, addr, exec string) map[string]any {
			logged := m.script("logged", fmt.Sprintf("exec %s \"$@\" >>%s 2>&1\n", program.path, m.path("runs.log")))
			return map[string]any{"args": []any{logged, "out", "-k", "hosts", "-f", m.path("hosts"), "-l", "10", "-c", "00644",
				"-e", exec, "-s", addr, "--state-dir", m.path("state")}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := consultest.Start(t, consultest.WithEnv(quiet(t.TempDir())...))
			m := newMachine(t, s.Addr)
			handler := watch(m, s.Addr, m.script("count", "echo \"$KVEXPRESS_KEY $KVEXPRESS_VERSION\" >>"+m.path("execs")+"\n"))
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

func watchDelivers(t *testing.T, s *consultest.Server, m *machine) {
	ran := func(text string, count int) func() bool {
		return func() bool { return strings.Count(m.read("runs.log"), text) == count }
	}
	// The watch fires once when it is set up.
	eventually(t, "the handler runs before there is a key", ran("no such key", 1))
	content := text("first", 30)
	m.ok("in", "-k", "hosts", "-f", m.file("source", content))
	eventually(t, "the watch delivers version 1", ran("installed version 1", 1))
	m.holds("hosts", content)
	m.holds("execs", "hosts 1\n")
	if mode := stat(t, m.path("hosts")).Mode(); mode != 0o644 {
		t.Errorf("the mode is %v, want -rw-r--r--", mode)
	}

	// A reload of the agent fires every watch again: nothing may be written then.
	before := tree(t, m.dir, "runs.log")
	was := stat(t, m.path("hosts"))
	s.Reload()
	eventually(t, "the handler runs again", ran("unchanged", 1))
	if after := tree(t, m.dir, "runs.log"); after != before {
		t.Errorf("with nothing to do, something was written. Before:\n%s\nafter:\n%s", before, after)
	}
	if !os.SameFile(was, stat(t, m.path("hosts"))) {
		t.Error("with nothing to do, the file was replaced")
	}
	m.holds("execs", "hosts 1\n")

	// The control: the same look at the files tells when something is done.
	m.file("hosts", "somebody edited this\n")
	s.Reload()
	eventually(t, "the edited file is repaired", ran("installed version 1", 2))
	m.holds("hosts", content)
	m.holds("execs", "hosts 1\nhosts 1\n")
	if tree(t, m.dir, "runs.log") == before {
		t.Error("a repair cannot be told from nothing: this test sees nothing")
	}

	content = text("second", 30)
	m.ok("in", "-k", "hosts", "-f", m.file("source", content))
	eventually(t, "the watch delivers version 2", ran("installed version 2", 1))
	m.holds("hosts", content)
	m.holds("execs", "hosts 1\nhosts 1\nhosts 2\n")
}

func stat(t *testing.T, path string) fs.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// tree describes all that is below dir, but for one file.
func tree(t *testing.T, dir, but string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) == but {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		size := info.Size()
		if info.IsDir() {
			size = 0
		}
		fmt.Fprintf(&b, "%s %v %d %v\n", path, info.Mode(), size, info.ModTime().UnixNano())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
