package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/install"
)

const example = `stores: 127.0.0.1:8500          # one or a list; token_file, ca_file, datacenter … beside it
prefix: kvexpress
node: web-17                    # default: the host name (locks always use the host name)
vars: {role: web}
state_dir: /var/lib/kvexpress
listen: /run/kvexpress/agent.sock   # health and metrics: a unix socket (default), an address, or "" for none
targets:
  - key: hosts                  # may hold {node}, {datacenter}, {role} …
    file: /etc/hosts.consul
    mode: "0644"
    owner: root
    min_lines: 10
    check: grep -qE '^127\.0\.0\.1\s' {file}
    exec: pkill -HUP dnsmasq
`

// same compares values by their printed form; they must not contain pointers.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%s is\n%s\nwant\n%s", what, g, w)
	}
}

func TestExample(t *testing.T) {
	path := filepath.Join(folder(t, map[string]string{"agent.yml": example}), "agent.yml")
	c, err := Load(path, env())
	if err != nil || len(c.Targets) != 1 {
		t.Fatalf("%d targets: %v", len(c.Targets), err)
	}
	got := c.Targets[0]
	if got.Mode == nil || *got.Mode != 0o644 || got.UID == nil || *got.UID != 0 || got.GID == nil || *got.GID != 0 {
		t.Errorf("mode, owner and group of %+v", got)
	}
	got.Mode, got.UID, got.GID = nil, nil, nil
	same(t, "the target", got, Target{At: path + ":8", Target: install.Target{
		Key: "hosts", File: "/etc/hosts.consul", MinLines: 10, CheckTimeout: 5 * time.Minute, ExecTimeout: 5 * time.Minute, ProbeTimeout: 30 * time.Second,
		Check: []string{"grep", "-qE", `^127\.0\.0\.1\s`, "{file}"}, Exec: []string{"pkill", "-HUP", "dnsmasq"},
	}})
	same(t, "the configuration", c, Config{
		Store: Store{Addrs: []string{"127.0.0.1:8500"}}, Node: "web-17", StateDir: "/var/lib/kvexpress", Targets: c.Targets,
		Listen: "/run/kvexpress/agent.sock", Reconcile: 5 * time.Minute, Receipts: true, Output: true, Hubs: Hubs{Direct: true}, Files: []string{path}, Layout: c.Layout,
	})
}

func TestDefaults(t *testing.T) {
	c, err := load(t, map[string]string{"agent.yml": "targets: [{key: hosts, file: /etc/x}]"})
	state, errState := install.DefaultStateDir(env().Getenv)
	if err := errors.Join(err, errState); err != nil {
		t.Fatal(err)
	}
	same(t, "the target", c.Targets[0], Target{At: c.Targets[0].At, Target: install.Target{
		Key: "hosts", File: "/etc/x", MinLines: 1, CheckTimeout: 5 * time.Minute, ExecTimeout: 5 * time.Minute, ProbeTimeout: 30 * time.Second,
	}})
	same(t, "the configuration", c, Config{
		Store: Store{Addrs: []string{""}}, Layout: c.Layout, Node: "web-17", StateDir: state, Files: c.Files, Targets: c.Targets,
		Listen: DefaultListen(os.Geteuid() == 0, env().Getenv, state), Reconcile: 5 * time.Minute, Receipts: true, Output: true, Hubs: Hubs{Direct: true},
	})
	if c.Layout.Prefix() != "kvexpress" {
		t.Errorf("the prefix is %s", c.Layout.Prefix())
	}
	for dir, want := range map[string]string{
		"/run/user/7": "/run/user/7/kvexpress/agent.sock", "": "/state/agent.sock", "relative": "/state/agent.sock",
	} {
		if got := DefaultListen(false, func(string) string { return dir }, "/state"); got != want {
			t.Errorf("with XDG_RUNTIME_DIR=%s it listens at %s, want %s", dir, got, want)
		}
	}
	if got := DefaultListen(true, os.Getenv, "/state"); got != "/run/kvexpress/agent.sock" {
		t.Errorf("root's agent listens at %s", got)
	}
}

func TestFragments(t *testing.T) {
	one := func(key string) string { return "targets:\n- key: " + key + "\n  file: /etc/{role}/" + key + "\n" }
	files := map[string]string{
		"agent.yml": one("main") + "vars: {role: web}\n", "conf.d/20-b.yml": one("b"), "conf.d/30-none.yml": "targets: []\n",
		"conf.d/10-a.yaml": one("a1") + "- {key: a2, file: /etc/a2}\n", "elsewhere/linked": one("linked"),
	}
	for name := range strings.FieldsSeq(".hidden.yml #auto.yml #auto.yml# b.yml~ b.yml.swp b.yml.rpmnew README deep/x.yml") {
		files["conf.d/"+name] = "nonsense"
	}
	dir := folder(t, files)
	if err := os.Symlink("../elsewhere/linked", filepath.Join(dir, "conf.d", "40-link.yml")); err != nil {
		t.Fatal(err)
	}
	c, err := Load(filepath.Join(dir, "agent.yml"), env())
	targets := []string{fmt.Sprint(err)}
	for _, target := range c.Targets {
		targets = append(targets, string(target.Key)+" "+target.File+" "+strings.TrimPrefix(target.At, dir+"/"))
	}
	same(t, "the error, and the targets", targets, []string{
		"<nil>", "main /etc/web/main agent.yml:2", "a1 /etc/web/a1 conf.d/10-a.yaml:2", "a2 /etc/a2 conf.d/10-a.yaml:4",
		"b /etc/web/b conf.d/20-b.yml:2", "linked /etc/web/linked conf.d/40-link.yml:2",
	})
	same(t, "the files", strings.ReplaceAll(strings.Join(c.Files, " "), dir+"/", ""),
		"agent.yml conf.d/10-a.yaml conf.d/20-b.yml conf.d/30-none.yml conf.d/40-link.yml")
}

func TestBadFragments(t *testing.T) {
	dir := folder(t, map[string]string{
		"agent.yml":          "targets: [{key: a, file: /etc/a}]",
		"conf.d/01.yml":      "prefix: x\nkey: y\ntarget: z\ntargets:\n- {key: a, file: /etc//a}",
		"conf.d/02.yml":      "# nothing\n",
		"conf.d/03.yml":      "targets:\n",
		"conf.d/04.yml":      "- {key: a, file: /etc/b}",
		"conf.d/05.yml":      "targets: [",
		"conf.d/06.yml/file": "",
		"conf.d/09.yml":      strings.Repeat("# comment\n", maxFile/10+1),
	})
	err := os.Symlink("nowhere", filepath.Join(dir, "conf.d", "07.yml"))
	if err := errors.Join(err, syscall.Mkfifo(filepath.Join(dir, "conf.d", "08.yml"), 0o600)); err != nil {
		t.Fatal(err)
	}
	c, err := Load(filepath.Join(dir, "agent.yml"), env())
	wantError(t, err, `
		conf.d/01.yml:1 agent.yml
		conf.d/01.yml:2 below targets
		conf.d/01.yml:3 did you mean "targets"
		conf.d/01.yml:5 agent.yml:1
		conf.d/02.yml:1 empty
		conf.d/03.yml:1 no value
		conf.d/04.yml:1 a map
		conf.d/05.yml:1 YAML
		conf.d/06.yml regular file
		conf.d/07.yml no such file
		conf.d/08.yml regular file
		conf.d/09.yml 1048576`)
	if len(c.Files) > 0 {
		t.Errorf("files %q are there beside the error", c.Files)
	}
	_, err = load(t, map[string]string{"agent.yml": "targets: []", "conf.d": "a file"})
	wantError(t, err, "conf.d not a directory")
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "agent.yml"), env())
	if all := (*Error)(nil); errors.As(err, &all) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "agent.yml") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Load(dir, env()); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: %v", err)
	}
}

// All mistakes are there, and the first twenty are shown in the order of the lines.
func TestManyProblems(t *testing.T) {
	var text, want strings.Builder
	text.WriteString("targets:\n")
	for i := range 15 {
		fmt.Fprintf(&text, "- key: a//%d\n  mod: 644\n", i)
		fmt.Fprintf(&want, "agent.yml:%d key\nagent.yml:%[1]d file\nagent.yml:%d \"mode\"\n", 2+2*i, 3+2*i)
	}
	_, err := load(t, map[string]string{"agent.yml": text.String()})
	all := (*Error)(nil)
	if !errors.As(err, &all) || !strings.HasSuffix(err.Error(), "\nand 25 more") || strings.Count(err.Error(), "\n") != maxShown {
		t.Fatalf("20 problems and how many more are not said: %v", err)
	}
	wantError(t, errors.Join(all.Problems...), want.String())
}

// The host name is only checked if it is used.
func TestHostName(t *testing.T) {
	dir := folder(t, map[string]string{"agent.yml": "node: web", "other.yml": "targets: [{key: '{node}', file: /etc/x}]"})
	bad := env()
	bad.Hostname = "a/b"
	if c, err := Load(filepath.Join(dir, "agent.yml"), bad); err != nil || c.Node != "web" {
		t.Errorf("the node is %q: %v", c.Node, err)
	}
	_, err := Load(filepath.Join(dir, "other.yml"), bad)
	wantError(t, err, `other.yml:1 "a/b"`)
}

// Impossible values are reported before the agent starts.
func TestNoPlace(t *testing.T) {
	path := filepath.Join(folder(t, map[string]string{"agent.yml": "targets: []"}), "agent.yml")
	for home, want := range map[string]string{"": "state_dir", "/" + strings.Repeat("x", maxSocket): "listen"} {
		e := env()
		e.Getenv = func(string) string { return home }
		if _, err := Load(path, e); os.Geteuid() != 0 {
			wantError(t, err, "agent.yml:1 "+want)
		} else if err != nil {
			t.Errorf("root needs no environment: %v", err)
		}
	}
}

func TestTooManyTargets(t *testing.T) {
	files := map[string]string{"agent.yml": "targets: []"}
	for i := range 3 {
		text := "targets:\n"
		for n := range maxTargets / 2 {
			text += fmt.Sprintf("- {key: k, file: /etc/%d/%d}\n", i, n)
		}
		files[fmt.Sprintf("conf.d/%d.yml", i)] = text
	}
	_, err := load(t, files)
	wantError(t, err, "conf.d/2.yml:2 4096")
	delete(files, "conf.d/2.yml")
	if c, err := load(t, files); err != nil || len(c.Targets) != maxTargets {
		t.Errorf("%d targets: %v", len(c.Targets), err)
	}
}
