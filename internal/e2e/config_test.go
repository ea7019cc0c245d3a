package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/consultest"
)

// without is the same machine without a variable in its environment.
func (m *machine) without(name string) *machine {
	less := *m
	less.env = slices.DeleteFunc(slices.Clone(m.env), func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
	return &less
}

// The file of -C has 1.x's keys. What is said closer to the command wins: flag,
// environment, file, default.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	s, m := start(t, consultest.WithACL())
	m = m.without("CONSUL_HTTP_ADDR")
	const away = "127.0.0.1:1"
	good, wrong := s.token, "11111111-2222-3333-4444-555555555555"
	inbox, other, dog := newInbox(t), newInbox(t), newDatadog(t)
	full := m.file("full.yml", fmt.Sprintf(`---
  datadog_api_key: from-file
  datadog_app_key: app-from-file
  consul_server: %s
  token: %s
  dogstatsd: true
  dogstatsd_address: %s
  datadog_host: %s
  something_else: [1, 2]
`, s.server.Addr, good, inbox.addr, dog.url))
	// The example that comes with 1.x leaves what is not needed without a value.
	empty := m.file("empty.yml", "---\n  datadog_api_key: api-key-goes-here\n  datadog_app_key: app-key-goes-here\n"+
		"  consul_server:\n  token:\n  dogstatsd:\n  dogstatsd_address:\n  datadog_host:\n")
	addr := func(a string) string {
		return m.file("addr-"+a[len(a)-1:]+".yml", "consul_server: "+a+"\ntoken: "+good+"\n")
	}
	n := 0
	try := func(m *machine, code int, args ...string) result {
		t.Helper()
		n++ // each time something new to publish
		m.file("source", text(fmt.Sprint(n), 20))
		return m.want(code, append([]string{"in", "-k", "hosts", "-f", "source", "--retry-for", "0s"}, args...)...)
	}
	env := func(pairs ...string) *machine { return m.with(pairs...) }

	try(m, 0, "-C", full)
	if got := inbox.metrics(); len(got) != 4 {
		t.Errorf("with dogstatsd: true it sends %v", got)
	}
	if got := dog.take(); len(got) != 1 || got[0].apiKey != "from-file" || got[0].appKey != "app-from-file" {
		t.Errorf("with the keys of the file it sends %+v", got)
	}
	try(m, 0, "-C", full, "-D", other.addr, "-a", "from-flag")
	if got := other.metrics(); len(got) != 4 || len(inbox.metrics()) != 0 {
		t.Errorf("-D gets %v", got)
	}
	if got := dog.take(); len(got) != 1 || got[0].apiKey != "from-flag" {
		t.Errorf("with -a it sends %+v", got)
	}
	try(m, 0, "-C", full, "-d=false")
	if got := inbox.metrics(); len(got) != 0 {
		t.Errorf("-d=false sends %v", got)
	}
	elsewhere := newDatadog(t)
	try(env("DATADOG_HOST="+elsewhere.url), 0, "-C", full)
	if len(elsewhere.take()) != 1 {
		t.Error("DATADOG_HOST does not win over the file")
	}
	inbox.metrics()

	// The address.
	try(env("CONSUL_HTTP_ADDR="+s.server.Addr, "CONSUL_HTTP_TOKEN="+good), 0, "-C", empty)
	try(m, 0, "-C", addr(s.server.Addr))
	try(m, 7, "-C", addr(away))
	try(env("CONSUL_HTTP_ADDR="+s.server.Addr), 0, "-C", addr(away))
	try(env("CONSUL_HTTP_ADDR="+away), 7, "-C", addr(s.server.Addr))
	try(env("CONSUL_HTTP_ADDR="+away), 0, "-C", addr(s.server.Addr), "-s", s.server.Addr)
	try(env("CONSUL_HTTP_ADDR="+s.server.Addr), 7, "-C", addr(s.server.Addr), "-s", away)

	// The token, in each of its places.
	there := m.with("CONSUL_HTTP_ADDR=" + s.server.Addr)
	fileWith := func(token string) string { return m.file("token.yml", "token: "+token+"\n") }
	try(there, 0, "-C", fileWith(good))
	try(there, 7, "-C", fileWith(wrong))
	try(there.with("CONSUL_HTTP_TOKEN="+good), 0, "-C", fileWith(wrong))
	try(there.with("CONSUL_HTTP_TOKEN="+wrong), 7, "-C", fileWith(good))
	try(there.with("CONSUL_HTTP_TOKEN_FILE="+m.file("token", good+"\n")), 0, "-C", fileWith(wrong))
	try(there.with("CONSUL_HTTP_TOKEN="+wrong), 0, "-C", fileWith(wrong), "-t", good)
	try(there.with("CONSUL_HTTP_TOKEN="+good), 7, "-C", fileWith(good), "-t", wrong)
	try(there.with("CONSUL_HTTP_TOKEN="+wrong), 0, "-C", fileWith(wrong), "--token-file", m.path("token"))
	try(there.with("CONSUL_HTTP_TOKEN="+good), 0, "-t", "anonymous") // 1.x's word for none

	// A file that is not one of ours: refused in one line, which shows none of it.
	for name, content := range map[string]string{
		"not YAML":  "token: [secret",
		"a list":    "- secret\n",
		"no switch": "dogstatsd: [secret]\n",
	} {
		r := try(there, 1, "-C", m.file("bad.yml", content))
		if strings.Contains(r.stdout+r.stderr, "secret") || !strings.Contains(r.stderr, "bad.yml") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %s%s", name, r.stdout, r.stderr)
		}
	}
}
