package main

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
)

// A manager is dpkg or rpm.
type manager struct {
	name               string
	old, fresh         string // patterns of packages
	install, upgrade   []string
	remove, purge      []string
	configurationMoves string // how the manager names an edited configuration after a removal
}

var managers = []manager{
	{
		name: "dpkg", old: "*_1.9.9_*.deb", fresh: "*_2.0.0_*.deb",
		install: []string{"--install"}, upgrade: []string{"--install"}, remove: []string{"--remove"}, purge: []string{"--purge"},
	},
	{
		name: "rpm", old: "*-1.9.9-*.rpm", fresh: "*-2.0.0-*.rpm", configurationMoves: ".rpmsave",
		install: []string{"-i"}, upgrade: []string{"-U"}, remove: []string{"-e"},
	},
}

const restarts = "daemon-reload; try-restart kvexpress-hub.service kvexpress-agent.service kvexpress-agent@*.service"

// The life of a package on a node: an upgrade keeps the configuration, restarts what runs, and loses no pending exec.
// A removal keeps all that is not the package's.
func TestInstallUpgradeRemove(t *testing.T) {
	t.Parallel()
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			r := newRoot(t)
			do := func(args []string, what string) {
				t.Helper()
				run(t, m.name, append(append([]string{"--root=" + r.dir}, args...), what)...)
			}
			do(m.install, packedFile(t, m.old))
			if got := r.called(); got != restarts {
				t.Errorf("an installation calls systemctl %s, want %s: it starts and enables nothing", got, restarts)
			}
			runs(r, oldVersion)
			r.run("kvexpress", "agent", "--check-config")

			// The administrator configures it, and the agent runs. The exec fails until the upgrade.
			store := startStore(t)
			configured := "stores: " + store + "\n" + r.read("/etc/kvexpress/agent.yml")
			r.write("/etc/kvexpress/agent.yml", configured)
			r.write("/etc/kvexpress/conf.d/ours.yml", "targets: [{key: motd, file: /etc/motd, exec: [sh, -c, "+
				"kvexpress version >>/execs && grep -q "+newVersion+" /execs]}]\n")
			r.write("/etc/kvexpress/token", "secret")
			ask := func(stdin string, args ...string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), packedProgram(newVersion), append(args, "-k", "motd", "-s", store)...)
				cmd.Stdin = strings.NewReader(stdin)
				runCmd(t, cmd)
			}
			ask("hello\n", "in", "-l", "1", "-f", "-")
			r.run("systemctl", "start")
			r.run("sh", "-c", "until grep "+oldVersion+" /execs; do sleep 0.1; done")
			r.called()

			do(m.upgrade, packedFile(t, m.fresh))
			if got := r.called(); !strings.Contains(got, restarts) || strings.Contains(got, "stop") || strings.Contains(got, "disable") {
				t.Errorf("an upgrade calls systemctl %s, want %s", got, restarts)
			}
			runs(r, newVersion)
			if got := r.read("/etc/kvexpress/agent.yml"); got != configured {
				t.Errorf("after the upgrade, agent.yml is %q", got)
			}
			ask("", "status", "--wait", "100%", "--timeout", "60s")
			if got := r.read("/execs"); !strings.Contains(got, newVersion) {
				t.Errorf("after the upgrade, no exec ran; they saw %s", got)
			}

			do(m.remove, "kvexpress")
			if got, want := r.called(), "disable --now kvexpress-hub.service kvexpress-agent.service; stop kvexpress-agent@*.service; "+
				"disable kvexpress-agent@.service; daemon-reload"; got != want {
				t.Errorf("a removal calls systemctl %s, want %s", got, want)
			}
			r.has(false, "/agent.pid", "/usr/bin/kvexpress", "/usr/lib/systemd/system/kvexpress-agent.service", "/usr/share/doc/kvexpress", "/usr/share/kvexpress")
			r.has(true, "/etc/motd", "/etc/kvexpress/conf.d/ours.yml", "/etc/kvexpress/token", "/var/lib/kvexpress")
			if got := r.read("/etc/kvexpress/agent.yml" + m.configurationMoves); got != configured {
				t.Errorf("after the removal, agent.yml%s is %q", m.configurationMoves, got)
			}
			if m.purge == nil {
				return
			}

			run(t, "mkdir", "-p", r.path("var/lib/kvexpress-web"), r.path("var/lib/kvexpress-hub"))
			do(m.purge, "kvexpress")
			r.has(false, "/etc/kvexpress/agent.yml", "/etc/kvexpress/hub.yml", "/etc/kvexpress/conf.d", "/var/lib/kvexpress", "/var/lib/kvexpress-hub")
			r.has(true, "/etc/kvexpress/token", "/var/lib/kvexpress-web") // of the administrator, and of the user web
			if got := r.read("/etc/motd"); got != "hello\n" {
				t.Errorf("after the purge, the delivered file is %q", got)
			}
		})
	}
}

// A machine without systemd takes the package too, and so does one whose systemd answers nothing.
func TestInstallWithoutSystemd(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]string{"none": "rm -r run/systemd bin/systemctl", "broken": "echo exit 1 >>bin/systemctl"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoot(t)
			run(t, "sh", "-c", "cd "+r.dir+" && "+harm)
			for _, step := range [][]string{{"--install", packedFile(t, "*_2.0.0_*.deb")}, {"--remove", "kvexpress"}, {"--purge", "kvexpress"}} {
				run(t, "dpkg", append([]string{"--root=" + r.dir}, step...)...)
			}
			r.has(false, "/etc/kvexpress", "/usr/bin/kvexpress")
		})
	}
}

func runs(r *root, version string) {
	r.Helper()
	if got := r.run("kvexpress", "version", "--json"); !strings.Contains(got, `"`+version+`"`) {
		r.Errorf("the installed version is %s, want %s", got, version)
	}
}

// startStore runs a hub with the hub.yml of the package and a store in memory, and returns its address.
func startStore(t *testing.T) string {
	t.Helper()
	hub := exec.CommandContext(t.Context(), packedProgram(newVersion), "hub", "-C", "../../packaging/hub.yml", "--dev", "--listen", "127.0.0.1:0")
	stdout, err := hub.StdoutPipe()
	if err == nil {
		err = hub.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Wait() }) // the test's context has ended
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
}
