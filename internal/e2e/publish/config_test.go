package publish

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/consultest"
	"kvexpress/internal/e2e"
)

// without is the same machine without a variable in its environment.
func without(m *e2e.Machine, name string) *e2e.Machine {
	less := *m
	less.Env = slices.DeleteFunc(slices.Clone(m.Env), func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
	return &less
}

// The file of -C has 1.x's keys. What is said closer to the command wins: flag,
// environment, file, default.
func TestConfigFile(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t, consultest.WithACL())
	m = without(m, "CONSUL_HTTP_ADDR")
	const away = "127.0.0.1:1"
	good, wrong := s.Token, "11111111-2222-3333-4444-555555555555"
	inbox, other, dog := newInbox(t), newInbox(t), newDatadog(t)
	full := m.File("full.yml", fmt.Sprintf(`---
  datadog_api_key: from-file
  datadog_app_key: app-from-file
  consul_server: %s
  token: %s
  dogstatsd: true
  dogstatsd_address: %s
  datadog_host: %s
  something_else: [1, 2]
`, s.Server.Addr, good, inbox.addr, dog.url))
	// The example that comes with 1.x leaves what is not needed without a value.
	empty := m.File("empty.yml", "---\n  datadog_api_key: api-key-goes-here\n  datadog_app_key: app-key-goes-here\n"+
		"  consul_server:\n  token:\n  dogstatsd:\n  dogstatsd_address:\n  datadog_host:\n")
	addr := func(a string) string {
		return m.File("addr-"+a[len(a)-1:]+".yml", "consul_server: "+a+"\ntoken: "+good+"\n")
	}
	n := 0
	try := func(m *e2e.Machine, code int, args ...string) e2e.Result {
		t.Helper()
		n++ // each time something new to publish
		m.File("source", e2e.Text(fmt.Sprint(n), 20))
		return m.Want(code, append([]string{"in", "-k", "hosts", "-f", "source", "--retry-for", "0s"}, args...)...)
	}
	env := func(pairs ...string) *e2e.Machine { return m.With(pairs...) }

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
	try(env("CONSUL_HTTP_ADDR="+s.Server.Addr, "CONSUL_HTTP_TOKEN="+good), 0, "-C", empty)
	try(m, 0, "-C", addr(s.Server.Addr))
	try(m, 7, "-C", addr(away))
	try(env("CONSUL_HTTP_ADDR="+s.Server.Addr), 0, "-C", addr(away))
	try(env("CONSUL_HTTP_ADDR="+away), 7, "-C", addr(s.Server.Addr))
	try(env("CONSUL_HTTP_ADDR="+away), 0, "-C", addr(s.Server.Addr), "-s", s.Server.Addr)
	try(env("CONSUL_HTTP_ADDR="+s.Server.Addr), 7, "-C", addr(s.Server.Addr), "-s", away)

	// The token, in each of its places.
	there := m.With("CONSUL_HTTP_ADDR=" + s.Server.Addr)
	fileWith := func(token string) string { return m.File("token.yml", "token: "+token+"\n") }
	try(there, 0, "-C", fileWith(good))
	try(there, 7, "-C", fileWith(wrong))
	try(there.With("CONSUL_HTTP_TOKEN="+good), 0, "-C", fileWith(wrong))
	try(there.With("CONSUL_HTTP_TOKEN="+wrong), 7, "-C", fileWith(good))
	try(there.With("CONSUL_HTTP_TOKEN_FILE="+m.File("token", good+"\n")), 0, "-C", fileWith(wrong))
	try(there.With("CONSUL_HTTP_TOKEN="+wrong), 0, "-C", fileWith(wrong), "-t", good)
	try(there.With("CONSUL_HTTP_TOKEN="+good), 7, "-C", fileWith(good), "-t", wrong)
	try(there.With("CONSUL_HTTP_TOKEN="+wrong), 0, "-C", fileWith(wrong), "--token-file", m.Path("token"))
	try(there.With("CONSUL_HTTP_TOKEN="+good), 0, "-t", "anonymous") // 1.x's word for none

	// A file that is not one of ours: refused in one line, which shows none of it.
	for name, content := range map[string]string{
		"not YAML":  "token: [secret",
		"a list":    "- secret\n",
		"no switch": "dogstatsd: [secret]\n",
	} {
		r := try(there, 1, "-C", m.File("bad.yml", content))
		if strings.Contains(r.Stdout+r.Stderr, "secret") || !strings.Contains(r.Stderr, "bad.yml") || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: %s%s", name, r.Stdout, r.Stderr)
		}
	}
}
