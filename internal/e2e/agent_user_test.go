//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kvexpress/internal/agent"
)

// nobody is the unprivileged user of these tests.
const nobody = 65534

// An unprivileged agent delivers where it may write. Elsewhere it says who may not do
// what, and does not let that keep it from the rest.
func TestAgentOfAnUnprivilegedUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root can become another user")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	_, m := start(t)
	content := m.publish(text("one", 20))
	for _, dir := range []string{filepath.Dir(m.dir), filepath.Dir(program.path)} { // 0700 by default
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := func(dir string) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	own(filepath.Dir(m.socket("unprivileged")))
	own(m.path("unprivileged.state"))
	own(m.path("mine"))
	if err := os.Mkdir(m.path("theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	targets := []fields{
		{"key": "hosts", "file": m.path("mine/hosts"), "exec": "sh -c 'id -u >" + m.path("mine/id") + "'"},
		{"key": "hosts", "file": m.path("mine/rooted"), "owner": "root"},
		{"key": "hosts", "file": m.path("theirs/hosts")},
	}
	config := m.configure("unprivileged", nil, targets...)
	if err := os.Chmod(config, 0o644); err != nil {
		t.Fatal(err)
	}
	d := m.agent("unprivileged", setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
	d.delivers("mine/hosts", content)
	eventually(t, "the exec runs", func() bool { return m.read("mine/id") == "65534\n" })
	if uid := stat(t, m.path("mine/hosts")).Sys().(*syscall.Stat_t).Uid; uid != nobody {
		t.Errorf("the file belongs to %d", uid)
	}
	for file, words := range map[string][]string{
		"theirs/hosts": {m.path("theirs"), "permission denied", "uid 65534 may not do this"},
		"mine/rooted":  {m.path("mine"), "operation not permitted"},
	} {
		failed := d.becomes(file, agent.Failed)
		for _, word := range words {
			if !strings.Contains(failed.Detail, word) {
				t.Errorf("%s: the status does not say %q: %s", file, word, failed.Detail)
			}
		}
		m.holds(file, "")
	}
	// Nothing is left of what failed, and the rest goes on.
	d.delivers("mine/hosts", m.publish(text("two", 20)))
	if left := names(t, m.path("mine")) + names(t, m.path("theirs")); left != "hosts id " {
		t.Errorf("left behind: %s", left)
	}
	d.endsWell()

	// The control: root may do all of it.
	m.configure("root", nil, targets...)
	d = m.agent("root")
	for _, file := range []string{"mine/hosts", "mine/rooted", "theirs/hosts"} {
		d.delivers(file, text("two", 20))
	}
	d.endsWell()
}

// names lists a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range entries {
		all.WriteString(e.Name() + " ")
	}
	return all.String()
}
