//go:build linux

package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kvexpress/internal/doctor"
	"kvexpress/test/e2e"
)

// Disks on which a file cannot be replaced, although this user may write to its folder.
func TestDisks(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	_, m := e2e.Start(t)
	m.Publish(e2e.Text("one", 20))
	mount := func(name, options string) string {
		dir := m.Path(name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		run(t, "mount", "-t", "tmpfs", "-o", options, "tmpfs", dir)
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
		return dir
	}
	readOnly, full, inodes := mount("read-only", "ro"), mount("full", "size=2m"), mount("inodes", "size=8m,nr_inodes=8")
	m.File("full/filler", strings.Repeat("x", 3<<19))
	m.File("mounted", "old\n")
	run(t, "mount", "--bind", m.File("other", "old\n"), m.Path("mounted"))
	t.Cleanup(func() { _ = unix.Unmount(m.Path("mounted"), unix.MNT_DETACH) })
	target := func(file string) e2e.Fields { return e2e.Fields{"key": "hosts", "file": file} }
	d := examine(t, m, nil, "-C", configure(m, "disks", e2e.Fields{"state_dir": mount("state", "size=8m,mode=0700")}, target(readOnly+"/hosts"),
		target(full+"/hosts"), target(inodes+"/hosts"), target(m.Path("mounted")), target(m.Path("fine"))))
	d.says("target", doctor.Failure, readOnly, "read-only", "remount it")
	d.says("target", doctor.Failure, full, "KiB left", "`df ")
	d.says("target", doctor.Failure, inodes, "inodes left", "`df -i ")
	d.says("target", doctor.Failure, m.Path("mounted"), "is a mount", "in_place: true")
	d.says("state", doctor.Warning, m.Path("state"), "tmpfs", "state_dir")
	for _, f := range d.all {
		if f.About == m.Path("fine") && !strings.Contains(f.Says, "start the agent") {
			t.Errorf("%+v", f)
		}
	}
	d = examine(t, m, nil, "-C", configure(m, "state", e2e.Fields{"state_dir": readOnly + "/state"}))
	d.says("state", doctor.Failure, "read-only", "choose another")
}

// Files that root may write and that cannot be replaced, or must not be overwritten.
func TestFixedFiles(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	_, m := e2e.Start(t)
	m.Publish(e2e.Text("one", 20))
	for _, dir := range []string{"fixed", "append"} {
		if err := os.Mkdir(m.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		m.File(dir+"/hosts", "old\n")
	}
	for path, flag := range map[string]string{"fixed/hosts": "i", "append": "a"} {
		run(t, "chattr", "+"+flag, m.Path(path))
		defer run(t, "chattr", "-"+flag, m.Path(path))
	}
	if err := os.Link(m.File("linked", "old\n"), m.Path("other-name")); err != nil {
		t.Fatal(err)
	}
	target := func(file string) e2e.Fields { return e2e.Fields{"key": "hosts", "file": file} }
	d := examine(t, m, nil, "-C", configure(m, "fixed", nil, target(m.Path("fixed/hosts")), target(m.Path("append/hosts")),
		target(m.Path("linked")), e2e.Fields{"key": "hosts", "file": m.Path("other-name"), "in_place": true}))
	d.says("target", doctor.Failure, "fixed/hosts is immutable", "`chattr -ia "+m.Path("fixed/hosts")+"`")
	d.says("target", doctor.Failure, "append is immutable or append-only", "`lsattr -d "+m.Path("append")+"`")
	d.says("target", doctor.Failure, "other-name", "several hard links", "remove the others")
	if n := strings.Count(d.text(), "several hard links"); n != 1 {
		t.Errorf("%d files may not have several links, and one is overwritten in place:\n%s", n, d.text())
	}
}

// A user who is neither root nor the user of the agent.
func TestUsers(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	_, m := e2e.Start(t)
	m.Publish(e2e.Text("one", 20))
	stranger := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	for _, dir := range []string{filepath.Dir(m.Dir), m.Dir, filepath.Dir(e2e.Program.Path)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"mine", "users.state", "theirs"} {
		if err := os.Mkdir(m.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if dir != "theirs" {
			if err := os.Chown(m.Path(dir), 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	config := configure(m, "users", nil, e2e.Fields{"key": "hosts", "file": m.Path("mine/hosts"), "owner": "root"},
		e2e.Fields{"key": "hosts", "file": m.Path("theirs/hosts")},
		e2e.Fields{"key": "hosts", "file": m.File("mine/in-place", "old\n"), "in_place": true})
	if err := os.Chmod(config, 0o644); err != nil {
		t.Fatal(err)
	}
	d := examine(t, m, stranger, "-C", config)
	d.says("state", doctor.OK)
	d.says("target", doctor.Failure, "theirs/hosts", "write to the folder", "run it as another user")
	d.says("target", doctor.Failure, "mine/hosts", "only root may give the file to uid 0", "remove owner")
	d.says("target", doctor.Failure, "write "+m.Path("mine/in-place"), "permission denied")
	d.says("writers", doctor.NotChecked, "run doctor as root")

	// A state folder of another user, and an agent that this one may not ask.
	if err := os.Chown(m.Path("users.state"), 1, 1); err != nil {
		t.Fatal(err)
	}
	examine(t, m, stranger, "-C", config).says("state", doctor.Failure, "users.state", "belongs to", "choose another")
	if err := os.Chown(m.Path("users.state"), 0, 0); err != nil {
		t.Fatal(err)
	}
	m.Agent("users")
	examine(t, m, stranger, "-C", config).says("agent", doctor.NotChecked, "no permission", "run as root")
	if err := os.Chmod(m.Socket("users"), 0o666); err != nil {
		t.Fatal(err)
	}
	d = examine(t, m, stranger, "-C", config)
	d.says("state", doctor.NotChecked, "the agent runs as uid 0, and this is uid 65534", "sudo -u '#0' kvexpress doctor -C "+config)
	d.says("target", doctor.NotChecked, "theirs/hosts", "the agent runs as uid 0")
}

// Programs that write to a target beside the agent.
func TestWriters(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	m.Publish(e2e.Text("one", 20))
	m.File("open", "old\n")
	m.Start("opener", "sh", "-c", "exec 3>>"+m.Path("open")+"; touch "+m.Path("opened")+"; exec sleep 300")
	m.Start("reader", "sh", "-c", "exec 3<"+m.Path("open")+"; touch "+m.Path("read")+"; exec sleep 300")
	m.Start("watch", e2e.Program.Path, "out", "-k", "hosts", "-f", m.Path("watched"), "-l", "1", "--state-dir", m.Path("state"),
		"-e", "sh -c 'touch "+m.Path("ran")+"; exec sleep 300'")
	for _, file := range []string{"opened", "read", "ran"} {
		e2e.Eventually(t, "there is "+file, func() bool {
			_, err := os.Stat(m.Path(file))
			return err == nil
		})
	}
	config := configure(m, "writers", nil, e2e.Fields{"key": "hosts", "file": m.Path("open")}, e2e.Fields{"key": "hosts", "file": m.Path("watched")})
	d := examine(t, m, nil, "-C", config)
	d.says("writers", doctor.Warning, m.Path("watched"), "(kvexpress) names it on its command line")
	d.says("writers", doctor.Warning, m.Path("open"), "(sleep) has it open for writing", "end one of them")
	if n := strings.Count(d.text(), "two writers"); n != 2 {
		t.Errorf("%d writers are named:\n%s", n, d.text())
	}
}

// What systemd says about a unit decides. It does not run here, so a program answers with what systemd 252 prints.
func TestUnit(t *testing.T) {
	t.Parallel()
	_, m := e2e.Start(t)
	if err := os.Mkdir(m.Path("bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.Script("bin/systemctl", "cat "+m.Path("answer")+"\n")
	m = m.With("PATH=" + m.Path("bin") + ":" + os.Getenv("PATH"))
	target := func(file string) e2e.Fields { return e2e.Fields{"key": "hosts", "file": file} }
	config := configure(m, "unit", e2e.Fields{"state_dir": "/var/lib/kvexpress"}, target("/etc/hosts.consul"), target("/srv/www/hosts"),
		target("/home/web/hosts"), target("/tmp/hosts"))
	const good = "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nUnitFileState=enabled\nNeedDaemonReload=no\n"
	answer := func(text string) diagnosis {
		m.File("answer", text)
		return examine(t, m, nil, "-C", config)
	}
	answer("LoadState=not-found\nActiveState=inactive\n").says("unit", doctor.Warning, "no such unit", "systemctl enable --now")
	answer(strings.Replace(good, "=active", "=failed", 1)).says("unit", doctor.Failure, "it is failed", "systemctl start", "journalctl -u")
	answer(strings.Replace(good, "=enabled", "=disabled", 1)).says("unit", doctor.Warning, "systemctl enable kvexpress-agent.service")
	answer(strings.Replace(good, "Reload=no", "Reload=yes", 1)).says("unit", doctor.Warning, "systemctl daemon-reload")
	answer(good).says("unit", doctor.OK)
	answer("").says("unit", doctor.Warning, "no such unit (unknown)", "systemctl enable --now") // none of the properties
	answer(good+"ProtectSystem=new-value\nNewProperty=x\n").says("unit", doctor.OK)
	closed := answer(good + "ProtectSystem=strict\nProtectHome=read-only\nPrivateTmp=yes\nReadWritePaths=/etc\nStateDirectory=kvexpress\n")
	closed.says("unit", doctor.Failure, "/srv/www: it is read-only there; add ReadWritePaths=/srv/www")
	closed.says("unit", doctor.Failure, "/home/web: it is read-only there")
	closed.says("unit", doctor.Failure, "/tmp: PrivateTmp=yes")
	if strings.Contains(closed.text(), "write to /etc") || strings.Contains(closed.text(), "write to /var/lib") {
		t.Errorf("open folders are closed:\n%s", closed.text())
	}
	answer(good+"ProtectSystem=strict\nProtectHome=read-only\nReadWritePaths=/etc -/srv /home/web /tmp\nStateDirectory=kvexpress\n").
		says("unit", doctor.OK, "5 folders")
	answer(good+"ProtectHome=yes\nReadWritePaths=/home/web\n").says("unit", doctor.Failure, "/home/web: ProtectHome=yes hides it")
	m.Script("bin/systemctl", "echo 'System has not been booted with systemd as init system (PID 1).' >&2; exit 1\n")
	examine(t, m, nil, "-C", config).says("unit", doctor.NotChecked, "has not been booted with systemd")
}
