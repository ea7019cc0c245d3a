//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// findConsulTemplate prefers the one that make built.
func findConsulTemplate(t testing.TB) string {
	t.Helper()
	built, err := filepath.Abs("../../.build/bin/consul-template")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(built); err == nil {
		return built
	}
	path, err := exec.LookPath("consul-template")
	if err != nil {
		t.Fatalf("%v: \"make tools\" builds it", err)
	}
	return path
}

// consul-template renders from a store, and again when something changes.
func TestConsulTemplate(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m = m.withConsul()
		m.file("key.tmpl", `{{ key "app/name" }}`+"\n")
		m.file("or.tmpl", `{{ keyOrDefault "app/color" "none" }}{{ if keyExists "app/flag" }} flag={{ key "app/flag" }}{{ end }}`+"\n")
		m.file("ls.tmpl", `{{ range ls "app/list" }}{{ .Key }}={{ .Value }};{{ end }}`+"\n")
		m.file("tree.tmpl", `{{ range tree "app/list" }}{{ .Key }}={{ .Value }};{{ end }}`+"\n")
		m.start("template", "exec "+findConsulTemplate(t)+" -log-level=info -template key.tmpl:key -template or.tmpl:or -template ls.tmpl:ls -template tree.tmpl:tree")
		renders := func(name, want string) {
			t.Helper()
			var got string
			defer func() {
				if t.Failed() {
					t.Logf("%s is %q", name, got)
				}
			}()
			eventually(t, name+" is "+want, func() bool { got = m.read(name); return got == want+"\n" })
		}
		renders("or", "none")
		renders("ls", "")
		renders("tree", "")
		if got := m.read("key"); got != "" {
			t.Errorf("a template whose key is missing is rendered: %q", got)
		}
		m.consul("kv put app/name hosts")
		renders("key", "hosts")
		m.consul("kv put app/color green")
		renders("or", "green")
		m.consul("kv put app/flag up")
		renders("or", "green flag=up")
		m.consul("kv put app/list/b two")
		m.consul("kv put app/list/a one")
		m.consul("kv put app/list/sub/c three")
		renders("ls", "a=one;b=two;")
		renders("tree", "a=one;b=two;sub/c=three;")

		m.consul("kv put app/list/sub/c four")
		renders("tree", "a=one;b=two;sub/c=four;")
		m.consul("kv delete app/list/b")
		renders("ls", "a=one;")
		m.consul("kv delete app/flag")
		renders("or", "green")
		m.consul("kv delete app/color")
		renders("or", "none")
		m.consul("kv delete app/name") // it waits for it again, and keeps what there is
		m.consul("kv put app/list/a last")
		renders("ls", "a=last;")
		renders("key", "hosts")
		m.consul("kv put app/name again")
		renders("key", "again")
	})
}

// consul-template -once renders what there is, and ends.
func TestConsulTemplateOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, m *machine) {
		m = m.withConsul()
		m.consul("kv put app/name hosts")
		m.file("in.tmpl", `{{ key "app/name" }} {{ keyOrDefault "app/color" "none" }} {{ range ls "app" }}{{ .Key }}{{ end }} {{ keyExists "app/no" }} {{ range tree "no" }}x{{ end }}`)
		said, code := m.shell(findConsulTemplate(t) + " -once -template in.tmpl:out")
		if code != 0 {
			t.Errorf("exit %d: %s", code, said)
		}
		m.holds("out", "hosts none name false ")
	})
}
