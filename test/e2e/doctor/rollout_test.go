//go:build linux

package doctor

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/doctor"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// Doctor says before a publish what would keep a rollout from its beginning, and what keeps a node out of it.
func TestRollouts(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t, consultest.WithACL())
	m = m.With("CONSUL_HTTP_TOKEN=" + s.Server.NewToken(t, `key_prefix "kvexpress" { policy = "write" }`))
	h := m.Hub("hub", "-s", s.Server.Addr)
	token := m.File("token", s.Server.NewToken(t, `key_prefix "kvexpress/" { policy = "read" } key_prefix "kvexpress-nodes/" { policy = "write" }`))
	m.Publish(e2e.Text("one", 20))
	probed := func(name string, fields, target e2e.Fields) string {
		all := e2e.Fields{"node": name, "direct": false, "hubs": h.Addr, "token_file": token, "labels": e2e.Fields{"role": name}}
		for k, v := range fields {
			all[k] = v
		}
		more := e2e.Fields{"key": "hosts", "file": m.Path(name + "-hosts"), "probe": "true"}
		for k, v := range target {
			more[k] = v
		}
		return configure(m, name, all, more)
	}
	publisher := func(args ...string) diagnosis {
		t.Helper()
		return examine(t, m, nil, append([]string{"publisher", "-k", "hosts"}, args...)...)
	}
	policy := func(text string) { m.Ok("policy", "set", "-k", "hosts", "-f", m.File("policy.yml", text)) }
	publisher().says("policy", doctor.OK, "no policy")
	policy("content: {min_lines: 1}")
	publisher().says("policy", doctor.OK, "no stages")
	policy("stages: [{nodes: {role: canary}, bake: 2s}, {share: 100%}]\ngates: [dns]\ntimeout: 20s")
	publisher().says("policy", doctor.Failure, "needs a hub", "--hub")
	publisher("--hub", "127.0.0.1:1").says("policy", doctor.Failure, "connection refused", "--now")
	publisher("--hub", h.Addr).says("policy", doctor.Failure, "no agent with a target for this key", "start one")

	config := probed("web", nil, nil)
	m.Agent("web")
	e2e.Eventually(t, "the node is there", func() bool { return h.Metric("agents") == 1 })
	bad := publisher("--hub", h.Addr)
	bad.says("policy", doctor.Failure, "no node in contact with a hub has the labels role=canary", "agent.yml")
	bad.says("policy", doctor.Failure, "has a probe", "at least 2s; shorter: 100%")
	bad.says("policy", doctor.Failure, "the hub has no gate dns", "hub.yml")
	examine(t, m, nil, "-C", config).says("policy", doctor.OK, "no stage is for the labels")
	policy("stages: [{nodes: {role: web}, bake: 2s}, {share: 100%, bake: 2s, pause: before}]\ntimeout: 20s")
	examine(t, m, nil, "-C", config).says("policy", doctor.OK, "stage 1 of 2 (role=web)")
	publisher("--hub", h.Addr).says("policy", doctor.OK, "a rollout can begin", "role=web: 1, 100%: 1")
	examine(t, m, nil, "-C", probed("slow", nil, e2e.Fields{"probe_timeout": "2m"})).
		says("policy", doctor.Warning, "may take 2m", "after 20s", "shorten probe_timeout")
	direct := examine(t, m, nil, "-C", configure(m, "direct", e2e.Fields{"node": "direct"},
		e2e.Fields{"key": "hosts", "file": m.Path("direct-hosts"), "probe": "true"}))
	direct.says("policy", doctor.Warning, "never runs", "add hubs")
	direct.says("policy", doctor.Warning, "has no hubs", "end of each rollout")
	old := httptest.NewServer(http.NotFoundHandler())
	defer old.Close()
	examine(t, m, nil, "-C", probed("old", e2e.Fields{"hubs": old.Listener.Addr().String()}, nil)).says("policy", doctor.Warning, "404")
	examine(t, m, nil, "-C", probed("away", e2e.Fields{"hubs": "127.0.0.1:1"}, nil)).says("policy", doctor.Warning, "connection refused")

	m.Ok("in", "-k", "hosts", "-f", m.File("two", e2e.Text("two", 20)), "--hub", h.Addr, "--detach")
	e2e.Within(t, time.Minute, "the rollout waits", func() bool {
		return strings.Contains(m.Run("rollout", "status", "-k", "hosts", "--json").Stdout, `"paused"`)
	})
	publisher("--hub", h.Addr).says("policy", doctor.Warning, "version 2 is paused", "kvexpress rollout status -k hosts")
	m.Ok("rollout", "abort", "-k", "hosts")
}

// A hub's doctor knows what it needs to run rollouts.
func TestHubRunsRollouts(t *testing.T) {
	t.Parallel()
	s, m := e2e.Start(t, consultest.WithACL())
	m = m.With("CONSUL_HTTP_TOKEN=" + s.Server.NewToken(t, `key_prefix "kvexpress" { policy = "write" }`))
	h := m.Hub("hub", "-s", s.Server.Addr)
	asked := make(chan *http.Request, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r }))
	defer hook.Close()
	common := "store: " + s.Server.Addr + "\nlisten: " + h.Addr + "\n"
	gates := "gates: {dns: {run: [nosuch-gate]}, ok: {run: [\"true\"]}}\n"
	config := m.File("hub.yml", common+"peers: ["+h.Addr+"]\n"+gates+
		"notify: {url: \""+hook.URL+"/hook\", token_file: "+m.File("hook-token", "xyz")+"}\n")
	e2e.Eventually(t, "the hub has written its row", func() bool {
		return strings.Contains(m.Run("doctor", "hub", "-C", m.File("alone.yml", common), "--json").Stdout, "the token may run rollouts")
	})
	own := examine(t, m, nil, "hub", "-C", config)
	own.says("rollouts", doctor.OK, "may run rollouts")
	own.says("rollouts", doctor.Warning, h.Addr, "the peer has 0 peers", "this hub 1", "each hub.yml")
	own.says("gate", doctor.Failure, "dns: nosuch-gate", "install it")
	own.says("gate", doctor.OK, "ok: ")
	own.says("notify", doctor.OK, "no notice was sent")
	if r := <-asked; r.Method != http.MethodHead || r.URL.Path != "/" || r.Header.Get("Authorization") != "" {
		t.Errorf("the webhook got %s %s", r.Method, r.URL)
	}
	examine(t, m, nil, "hub", "-C", m.File("dead.yml", common+"notify: {url: \"http://127.0.0.1:1/secret-path\"}\n")).
		says("notify", doctor.Failure, "connection refused", "correct notify")
	examine(t, m, nil, "hub", "-C", m.File("empty.yml", common+"notify: {url: \""+hook.URL+"\", token_file: "+m.Path("nosuch")+"}\n")).
		says("notify", doctor.Failure, "nosuch", "token_file of notify")

	weak := m.With("CONSUL_HTTP_TOKEN=" + s.Server.NewToken(t, `key_prefix "kvexpress" { policy = "read" } key_prefix "kvexpress-nodes/" { policy = "write" }`))
	examine(t, weak, nil, "hub", "-C", config).says("rollouts", doctor.Failure, "gates and notify have no effect", "`kvexpress acl hub --rollouts`")
	examine(t, weak, nil, "hub", "-C", config).says("rollouts", doctor.NotChecked, h.Addr, "may not write rollouts")
	examine(t, weak, nil, "hub", "-C", m.File("serves.yml", common)).says("rollouts", doctor.OK, "serves agents", "`kvexpress acl hub --rollouts`")
	other := m.File("other.yml", common+"prefix: other\n")
	all := m.With("CONSUL_HTTP_TOKEN=" + s.Server.NewToken(t, `key_prefix "other" { policy = "write" }`))
	examine(t, all, nil, "hub", "-C", other).says("rollouts", doctor.Warning, "other-rollouts/.keep is missing", "systemctl restart")
}
