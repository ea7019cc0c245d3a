package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// root is a machine in a folder: a shell with the usual commands, and a systemctl of its own.
type root struct {
	*testing.T
	dir string
}

// systemctl notes its calls. It does for the agent what systemd does.
const systemctl = `#!/bin/sh
echo "$*" >>/systemctl.calls
exec </dev/null >>/agent.log 2>&1
start() { kvexpress agent & echo $! >/agent.pid; until kvexpress agent status; do sleep 0.1; done; }
stop() { kill $(cat /agent.pid); while kvexpress agent status; do sleep 0.1; done; rm /agent.pid; }
case $1 in
start) start ;;
try-restart) [ ! -e /agent.pid ] || { stop; start; } ;;
disable) [ ! -e /agent.pid ] || stop ;;
esac
`

const calls = "/systemctl.calls"

func newRoot(t *testing.T) *root {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("chroot needs root")
	}
	r := &root{t, t.TempDir()}
	for _, dir := range []string{"bin", "dev", "proc", "tmp", "root", "etc", "var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/rpm", "run/systemd/system"} {
		if err := os.MkdirAll(r.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.write("/var/lib/dpkg/status", "")
	r.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
	r.write("/etc/group", "root:x:0:\n")
	if err := syscall.Mknod(r.path("dev/null"), syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		t.Fatal(err)
	}
	run(t, "cp", need(t, "busybox"), r.path("bin/busybox"))
	for _, name := range strings.Fields(run(t, "busybox", "--list")) {
		if err := os.Symlink("busybox", r.path("bin/"+name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	r.write("/bin/systemctl", systemctl)
	t.Cleanup(func() {
		if pid, err := strconv.Atoi(strings.TrimSpace(r.read("/agent.pid"))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	run(t, "chmod", "755", r.path("bin/systemctl"))
	return r
}

func (r *root) path(path string) string { return filepath.Join(r.dir, path) }

func (r *root) write(path, text string) {
	r.Helper()
	if err := os.WriteFile(r.path(path), []byte(text), 0o644); err != nil {
		r.Fatal(err)
	}
}

// read is the content of a file, "" if it does not exist.
func (r *root) read(path string) string {
	r.Helper()
	b, err := os.ReadFile(r.path(path))
	if err != nil && !os.IsNotExist(err) {
		r.Fatal(err)
	}
	return string(b)
}

// has says whether each path exists, or none of them does.
func (r *root) has(want bool, paths ...string) {
	r.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(r.path(path)); (err == nil) != want {
			r.Errorf("%s: exists %v, want %v (%v)", path, !want, want, err)
		}
	}
}

// called are the calls of systemctl since the last time.
func (r *root) called() string {
	r.Helper()
	all := r.read(calls)
	r.write(calls, "")
	return strings.TrimSuffix(strings.ReplaceAll(all, "\n", "; "), "; ")
}

// command is one that runs in the root, with nothing of this machine but its network.
func (r *root) command(name string, args ...string) *exec.Cmd {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), need(r.T, "chroot"), append([]string{r.dir, name}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/root"}
	return cmd
}

func (r *root) run(name string, args ...string) string {
	r.Helper()
	return runCmd(r.T, r.command(name, args...))
}
