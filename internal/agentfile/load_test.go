package agentfile

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

	"kvexpress/internal/deliver"
)

// example is what the documents show.
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

func TestExample(t *testing.T) {
	dir := folder(t, map[string]string{"agent.yml": example})
	c, err := loadIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agent.yml")
	if len(c.Targets) != 1 {
		t.Fatalf("%d targets", len(c.Targets))
	}
	got := c.Targets[0]
	if got.Mode == nil || *got.Mode != 0o644 || got.UID == nil || *got.UID != 0 || got.GID == nil || *got.GID != 0 {
		t.Errorf("mode, owner and group of %+v", got)
	}
	got.Mode, got.UID, got.GID = nil, nil, nil
	same(t, "the target", got, Target{At: path + ":8", Target: deliver.Target{
		Key: "hosts", File: "/etc/hosts.consul", MinLines: 10, CheckTimeout: 5 * time.Minute, ExecTimeout: 5 * time.Minute,
		Check: []string{"grep", "-qE", `^127\.0\.0\.1\s`, "{file}"}, Exec: []string{"pkill", "-HUP", "dnsmasq"},
	}})
	c.Targets = nil
	want := Config{
		Store: Store{Addrs: []string{"127.0.0.1:8500"}}, Node: "web-17", StateDir: "/var/lib/kvexpress",
		Listen: "/run/kvexpress/agent.sock", Reconcile: 5 * time.Minute, Receipts: true, Files: []string{path}, Layout: c.Layout,
	}
	same(t, "the configuration", c, want)
	if c.Layout.Prefix() != "kvexpress" {
		t.Errorf("the prefix is %s", c.Layout.Prefix())
	}
}

// same compares values by what is printed of them; no pointers may be in them.
func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("%s is\n%s\nwant\n%s", what, g, w)
	}
}

func TestDefaults(t *testing.T) {
	c, err := load(t, map[string]string{"agent.yml": "targets: [{key: hosts, file: /etc/x}]"})
	if err != nil {
		t.Fatal(err)
	}
	state, err := deliver.DefaultStateDir(env().Getenv)
	if err != nil {
		t.Fatal(err)
	}
	target := c.Targets[0]
	if target.MinLines != 1 || target.Mode != nil || target.UID != nil || target.GID != nil || target.Check != nil || target.Exec != nil || target.Spread != 0 {
		t.Errorf("the target is %+v", target)
	}
	c.Files, c.Targets = nil, nil
	same(t, "the configuration", c, Config{
		Store: Store{Addrs: []string{""}}, Layout: c.Layout, Node: "web-17", StateDir: state,
		Listen: defaultListen(os.Geteuid() == 0, env().Getenv, state), Reconcile: 5 * time.Minute, Receipts: true,
	})
}

func TestDefaultListen(t *testing.T) {
	for _, test := range []struct {
		root          bool
		runtime, want string
	}{
		{true, "/run/user/0", "/run/kvexpress/agent.sock"},
		{false, "/run/user/7", "/run/user/7/kvexpress/agent.sock"},
		{false, "", "/state/agent.sock"},
		{false, "relative", "/state/agent.sock"},
	} {
		getenv := func(string) string { return test.runtime }
		if got := defaultListen(test.root, getenv, "/state"); got != test.want {
			t.Errorf("root %t, XDG_RUNTIME_DIR=%s: %s, want %s", test.root, test.runtime, got, test.want)
		}
	}
}

func TestFragments(t *testing.T) {
	one := func(key string) string { return "targets:\n- key: " + key + "\n  file: /etc/{role}/" + key + "\n" }
	dir := folder(t, map[string]string{
		"agent.yml":              one("main") + "vars: {role: web}\n",
		"conf.d/20-b.yml":        one("b"),
		"conf.d/10-a.yaml":       one("a1") + "- {key: a2, file: /etc/a2}\n",
		"conf.d/30-none.yml":     "targets: []\n",
		"conf.d/.hidden.yml":     "nonsense",
		"conf.d/.#lock.yml":      "nonsense",
		"conf.d/#auto.yml":       "nonsense",
		"conf.d/#auto.yml#":      "nonsense",
		"conf.d/20-b.yml~":       "nonsense",
		"conf.d/20-b.yml.swp":    "nonsense",
		"conf.d/20-b.yml.bak":    "nonsense",
		"conf.d/20-b.yml.rpmnew": "nonsense",
		"conf.d/README":          "nonsense",
		"conf.d/deep/x.yml":      "nonsense",
		"elsewhere/linked":       one("linked"),
	})
	if err := os.Symlink("../elsewhere/linked", filepath.Join(dir, "conf.d", "40-link.yml")); err != nil {
		t.Fatal(err)
	}
	c, err := loadIn(dir)
	if err != nil {
		t.Fatal(err)
	}
	var keys, files []string
	for _, target := range c.Targets {
		keys = append(keys, string(target.Key)+" "+target.File+" "+strings.TrimPrefix(target.At, dir+"/"))
	}
	for _, f := range c.Files {
		files = append(files, strings.TrimPrefix(f, dir+"/"))
	}
	same(t, "the targets", keys, []string{
		"main /etc/web/main agent.yml:2", "a1 /etc/web/a1 conf.d/10-a.yaml:2", "a2 /etc/a2 conf.d/10-a.yaml:4",
		"b /etc/web/b conf.d/20-b.yml:2", "linked /etc/web/linked conf.d/40-link.yml:2",
	})
	same(t, "the files", files, []string{"agent.yml", "conf.d/10-a.yaml", "conf.d/20-b.yml", "conf.d/30-none.yml", "conf.d/40-link.yml"})
}

func TestBadFragments(t *testing.T) {
	dir := folder(t, map[string]string{
		"agent.yml":          "targets: [{key: a, file: /etc/a}]",
		"conf.d/01.yml":      "prefix: x\nkey: y\ntarget: z\ntargets:\n- {key: a, file: /etc//a}",
		"conf.d/02.yml":      "# nothing\n",
		"conf.d/03.yml":      "",
		"conf.d/04.yml":      "targets:\n",
		"conf.d/05.yml":      "- {key: a, file: /etc/b}",
		"conf.d/06.yml":      "targets: [",
		"conf.d/07.yml/file": "",
		"conf.d/10.yml":      strings.Repeat("# comment\n", maxFile/10+1),
	})
	if err := os.Symlink("nowhere", filepath.Join(dir, "conf.d", "08.yml")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "conf.d", "09.yml"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadIn(dir)
	wantError(t, err, `
		conf.d/01.yml:1: unknown key "prefix"; a fragment holds targets alone, so put it into agent.yml
		conf.d/01.yml:2: unknown key "key"; it belongs to a target, below targets
		conf.d/01.yml:3: unknown key "target"; did you mean "targets"?
		conf.d/01.yml:5: file: "/etc/a" is the file of the target at agent.yml:1 too; give each target its own
		conf.d/02.yml:1: the file is empty; remove it, or give targets: []
		conf.d/03.yml:1: the file is empty; remove it, or give targets: []
		conf.d/04.yml:1: targets has no value; give a list, or [] for none, or remove it
		conf.d/05.yml:1: the file is a list; give a map with targets
		conf.d/06.yml:1: this is not YAML: sequence end token ']' not found
		conf.d/07.yml: it is not a regular file; give a file, or a link to one
		conf.d/08.yml: no such file or directory
		conf.d/09.yml: it is not a regular file; give a file, or a link to one
		conf.d/10.yml: it has more than 1048576 bytes; spread the targets over files in conf.d`)
	if !errors.Is(err, fs.ErrNotExist) || len(c.Files) > 0 {
		t.Errorf("the cause is lost, or files %q are there beside the error", c.Files)
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	if _, err := loadIn(dir); !errors.Is(err, fs.ErrNotExist) || err.Error() != "read the configuration agent.yml: no such file or directory" {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Load(dir, env()); err == nil || !strings.HasSuffix(err.Error(), "it is not a regular file; give a file, or a link to one") {
		t.Errorf("a folder: %v", err)
	}
	_, err := load(t, map[string]string{"agent.yml": "targets: []", "conf.d": "a file"})
	wantError(t, err, "conf.d: not a directory")
}

// A file of two problems in each of many lines: the first twenty are shown, in the
// order of the lines, though keys are looked at last.
func TestManyProblems(t *testing.T) {
	var text, want strings.Builder
	text.WriteString("targets:\n")
	for i := range 15 {
		fmt.Fprintf(&text, "- key: a//%d\n  mod: 644\n", i)
		if i < 6 {
			fmt.Fprintf(&want, "agent.yml:%d: the target has no file; add one\n", 2+2*i)
			fmt.Fprintf(&want, "agent.yml:%d: key \"a//%d\": a part between slashes is empty\n", 2+2*i, i)
			fmt.Fprintf(&want, "agent.yml:%d: unknown key \"mod\"; did you mean \"mode\"?\n", 3+2*i)
		}
	}
	want.WriteString("agent.yml:14: the target has no file; add one\nagent.yml:14: key \"a//6\": a part between slashes is empty\nand 25 more")
	_, err := load(t, map[string]string{"agent.yml": text.String()})
	wantError(t, err, want.String())
	var all *Error
	if !errors.As(err, &all) || len(all.Problems) != 45 {
		t.Errorf("not all problems are there: %v", err)
	}
}

// The host's name is only looked at if it is used.
func TestHostName(t *testing.T) {
	dir := folder(t, map[string]string{"agent.yml": "node: web\ntargets: []", "other.yml": "targets: [{key: '{node}', file: /etc/x}]"})
	bad := env()
	bad.Hostname = "a/b"
	if c, err := Load(filepath.Join(dir, "agent.yml"), bad); err != nil || c.Node != "web" {
		t.Errorf("the node is %q: %v", c.Node, err)
	}
	_, err := Load(filepath.Join(dir, "other.yml"), bad)
	wantError(t, err, filepath.Join(dir, "other.yml")+`:1: the host's name "a/b" cannot be the node's; set node`)
}

// What cannot be is said before the agent tries.
func TestNoPlace(t *testing.T) {
	if os.Geteuid() == 0 {
		long := env()
		long.Getenv = func(string) string { return "" }
		if _, err := Load(filepath.Join(folder(t, map[string]string{"agent.yml": "targets: []"}), "agent.yml"), long); err != nil {
			t.Errorf("root needs no environment: %v", err)
		}
		return
	}
	none := env()
	none.Getenv = func(string) string { return "" }
	path := filepath.Join(folder(t, map[string]string{"agent.yml": "targets: []"}), "agent.yml")
	_, err := Load(path, none)
	wantError(t, err, path+":1: neither XDG_STATE_HOME nor HOME says where the state belongs; set state_dir")
	none.Getenv = func(string) string { return "/" + strings.Repeat("x", maxSocket) }
	if _, err = Load(path, none); err == nil || !strings.Contains(err.Error(), "is too long for a socket; set listen") {
		t.Errorf("a long socket: %v", err)
	}
}

func TestTooManyTargets(t *testing.T) {
	files := map[string]string{"agent.yml": "targets: []"}
	var part strings.Builder
	n := 0
	for i := range 3 {
		part.Reset()
		part.WriteString("targets:\n")
		for range maxTargets / 2 {
			fmt.Fprintf(&part, "- {key: k, file: /etc/%d}\n", n)
			n++
		}
		files[fmt.Sprintf("conf.d/%d.yml", i)] = part.String()
	}
	_, err := load(t, files)
	wantError(t, err, "conf.d/2.yml:2: there are more than 4096 targets, which no agent takes; remove some")
	delete(files, "conf.d/2.yml")
	c, err := load(t, files)
	if err != nil || len(c.Targets) != maxTargets {
		t.Errorf("%d targets: %v", len(c.Targets), err)
	}
}

func TestTooMuchTogether(t *testing.T) {
	files := map[string]string{"agent.yml": "targets: []"}
	for i := range maxTotal/maxFile + 2 {
		files[fmt.Sprintf("conf.d/%d.yml", i)] = "targets: []\n" + strings.Repeat("# "+strings.Repeat("x", 97)+"\n", maxFile/100-2)
	}
	_, err := load(t, files)
	wantError(t, err, "conf.d/8.yml: with this file there are more than 8388608 bytes of configuration; remove some")
}

func TestTooManyFiles(t *testing.T) {
	dir := folder(t, map[string]string{"agent.yml": "targets: []", "conf.d/0.yml": "targets: []"})
	for i := range maxFragments {
		if err := os.Link(filepath.Join(dir, "conf.d", "0.yml"), filepath.Join(dir, "conf.d", fmt.Sprintf("more-%d.yml", i))); err != nil {
			t.Fatal(err)
		}
	}
	_, err := loadIn(dir)
	wantError(t, err, "conf.d: there are more than 4096 files; put several targets into one")
}

// After very many problems no more files are looked at.
func TestManyBadFiles(t *testing.T) {
	_, err := load(t, map[string]string{
		"agent.yml":    "targets:\n" + strings.Repeat("- x\n", maxProblems+1),
		"conf.d/1.yml": "nonsense",
	})
	var all *Error
	if !errors.As(err, &all) || len(all.Problems) != maxProblems+1 {
		t.Errorf("%d problems", len(all.Problems))
	}
}
