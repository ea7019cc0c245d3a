//go:build linux

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// nobodyUID is the unprivileged user of these tests.
const nobodyUID = 65534

// An unprivileged agent delivers files that it may write. For the others it names the missing
// right, and delivers the rest.
func TestAgentOfAnUnprivilegedUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("only root can become another user")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Fatal(err)
	}
	_, m := e2e.Start(t)
	content := m.Publish(e2e.Text("one", 20))
	for _, dir := range []string{filepath.Dir(m.Dir), filepath.Dir(e2e.Program.Path)} { // 0700 by default
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own := func(dir string) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, nobodyUID, nobodyUID); err != nil {
			t.Fatal(err)
		}
	}
	own(filepath.Dir(m.Socket("unprivileged")))
	own(m.Path("unprivileged.state"))
	own(m.Path("mine"))
	if err := os.Mkdir(m.Path("theirs"), 0o755); err != nil {
		t.Fatal(err)
	}
	targets := []e2e.Fields{
		{"key": "hosts", "file": m.Path("mine/hosts"), "exec": "sh -c 'id -u >" + m.Path("mine/id") + "'"},
		{"key": "hosts", "file": m.Path("mine/rooted"), "owner": "root"},
		{"key": "hosts", "file": m.Path("theirs/hosts")},
	}
	config := m.Configure("unprivileged", nil, targets...)
	if err := os.Chmod(config, 0o644); err != nil {
		t.Fatal(err)
	}
	d := m.Agent("unprivileged", setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
	d.Delivers("mine/hosts", content)
	e2e.Eventually(t, "the exec runs", func() bool { return m.Read("mine/id") == "65534\n" })
	if uid := e2e.Stat(t, m.Path("mine/hosts")).Sys().(*syscall.Stat_t).Uid; uid != nobodyUID {
		t.Errorf("the file belongs to %d", uid)
	}
	for file, words := range map[string][]string{
		"theirs/hosts": {m.Path("theirs"), "permission denied", "uid 65534 is not allowed to do this"},
		"mine/rooted":  {m.Path("mine"), "operation not permitted"},
	} {
		failed := d.Becomes(file, outcome.Failed)
		for _, word := range words {
			if !strings.Contains(failed.Detail, word) {
				t.Errorf("%s: the status does not say %q: %s", file, word, failed.Detail)
			}
		}
		m.Holds(file, "")
	}
	// A failed target leaves nothing behind, and the others are delivered.
	d.Delivers("mine/hosts", m.Publish(e2e.Text("two", 20)))
	if left := names(t, m.Path("mine")) + names(t, m.Path("theirs")); left != "hosts id " {
		t.Errorf("left behind: %s", left)
	}
	d.EndsWell()

	// The control: root may do all of it.
	m.Configure("root", nil, targets...)
	d = m.Agent("root")
	for _, file := range []string{"mine/hosts", "mine/rooted", "theirs/hosts"} {
		d.Delivers(file, e2e.Text("two", 20))
	}
	d.EndsWell()
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
