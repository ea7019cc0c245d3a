//go:build linux

package store

import (
	"testing"

	"kvexpress/test/e2e"
)

// consul-template renders from a store, and again when something changes.
func TestConsulTemplate(t *testing.T) {
	onBoth(t, func(t *testing.T, m *e2e.Machine) {
		m = withConsul(m)
		m.File("key.tmpl", `{{ key "app/name" }}`+"\n")
		m.File("or.tmpl", `{{ keyOrDefault "app/color" "none" }}{{ if keyExists "app/flag" }} flag={{ key "app/flag" }}{{ end }}`+"\n")
		m.File("ls.tmpl", `{{ range ls "app/list" }}{{ .Key }}={{ .Value }};{{ end }}`+"\n")
		m.File("tree.tmpl", `{{ range tree "app/list" }}{{ .Key }}={{ .Value }};{{ end }}`+"\n")
		startJob(m, "template",
			"exec "+e2e.FindConsulTemplate(t)+" -log-level=info -template key.tmpl:key -template or.tmpl:or -template ls.tmpl:ls "+
				"-template tree.tmpl:tree")
		renders := func(name, want string) {
			t.Helper()
			var got string
			defer func() {
				if t.Failed() {
					t.Logf("%s is %q", name, got)
				}
			}()
			e2e.Eventually(t, name+" is "+want, func() bool { got = m.Read(name); return got == want+"\n" })
		}
		renders("or", "none")
		renders("ls", "")
		renders("tree", "")
		if got := m.Read("key"); got != "" {
			t.Errorf("a template whose key is missing is rendered: %q", got)
		}
		consul(m, "kv put app/name hosts")
		renders("key", "hosts")
		consul(m, "kv put app/color green")
		renders("or", "green")
		consul(m, "kv put app/flag up")
		renders("or", "green flag=up")
		consul(m, "kv put app/list/b two")
		consul(m, "kv put app/list/a one")
		consul(m, "kv put app/list/sub/c three")
		renders("ls", "a=one;b=two;")
		renders("tree", "a=one;b=two;sub/c=three;")

		consul(m, "kv put app/list/sub/c four")
		renders("tree", "a=one;b=two;sub/c=four;")
		consul(m, "kv delete app/list/b")
		renders("ls", "a=one;")
		consul(m, "kv delete app/flag")
		renders("or", "green")
		consul(m, "kv delete app/color")
		renders("or", "none")
		consul(m, "kv delete app/name") // it waits for it again, and keeps its file
		consul(m, "kv put app/list/a last")
		renders("ls", "a=last;")
		renders("key", "hosts")
		consul(m, "kv put app/name again")
		renders("key", "again")
	})
}

// consul-template -once renders once, and ends.
func TestConsulTemplateOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, m *e2e.Machine) {
		m = withConsul(m)
		consul(m, "kv put app/name hosts")
		m.File("in.tmpl",
			`{{ key "app/name" }} {{ keyOrDefault "app/color" "none" }} {{ range ls "app" }}{{ .Key }}{{ end }} {{ keyExists "app/no" }} {{ range tree "no" }}x{{ end }}`)
		said, code := shell(m, e2e.FindConsulTemplate(t)+" -once -template in.tmpl:out")
		if code != 0 {
			t.Errorf("exit %d: %s", code, said)
		}
		m.Holds("out", "hosts none name false ")
	})
}
