//go:build linux

package hub

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// One token for all nodes: hubs take the name of a node from its certificate. What that costs is in docs/permissions.md.
func TestOneToken(t *testing.T) {
	t.Parallel()
	x := &guarded{Site: start(t, consultest.WithACL()), hub: &e2e.Hub{}}
	one := e2e.Text("one", 20)
	x.Publish("hosts", one)
	a := newAuthorities(x.Site) // a.user is of web-1
	_, _, second := a.clients.Sign("second", nil, []string{"web-2.example", "web-2"}, time.Hour)
	x.File("hub.token", x.token("hub"))
	x.hub = x.Site.Machine.With("CONSUL_HTTP_TOKEN=").Hub("hub", "-C", x.File("hub.yml", "node_from: certificate\ntls_cert: "+a.own+
		"\ntls_key: "+a.own+".key\ntls_client_ca: "+a.clients.File+"\ntoken_file: "+x.Path("hub.token")+"\n"))
	shared := x.token("node", "-k", "hosts", "-k", "app/*", "--no-receipt")
	with := func(certificate string) e2e.Fields {
		return e2e.Fields{"hub_ca": a.ca.File, "hub_client_cert": certificate, "hub_client_key": certificate + ".key", "direct": false}
	}
	x.node("web-1", shared, with(a.user), "hosts").Delivers("web-1-hosts", one)
	x.node("web-2", shared, with(second), "hosts").Delivers("web-2-hosts", one)
	forger := x.node("web-3", shared, with(second), "hosts")
	for _, side := range []*e2e.Daemon{forger, x.hub.Daemon} {
		says(side, "the certificate of the agent is for", "web-2.example web-2", `web-3`, "set node in agent.yml")
	}
	own := x.Layout.NodesDir()
	e2e.Eventually(t, "both receipts are in the store", func() bool {
		return x.Store.Get(own+"web-1") != nil && x.Store.Get(own+"web-2") != nil
	})
	x.Holds("web-3-hosts", "")

	// Without a hub, the node has its file, and cannot report.
	direct := x.node("web-4", shared, e2e.Fields{"hubs": nil}, "hosts")
	direct.Delivers("web-4-hosts", one)
	says(direct, "receipt", "kvexpress-nodes/web-4")
	for _, name := range []string{"web-3", "web-4"} {
		if x.Store.Get(own+name) != nil {
			t.Errorf("%s has a receipt", name)
		}
	}
}

// Tokens are replaced in their files. The old ones end, and nothing restarts: not the hub, not an agent of a hub, not one without.
func TestNewTokens(t *testing.T) {
	t.Parallel()
	x := startGuarded(t)
	one := e2e.Text("one", 20)
	x.Publish("hosts", one)
	old := map[string]string{"hub": x.Read("hub.token")}
	agents := map[string]*e2e.Daemon{}
	for name, more := range map[string]e2e.Fields{"web-1": {"direct": false}, "web-2": {"hubs": nil}} {
		old[name] = x.token("node", "-k", "hosts", "--node", name)
		agents[name] = x.node(name, old[name], more, "hosts")
		agents[name].Delivers(name+"-hosts", one)
	}
	for name := range old {
		role := []string{"hub"}
		if name != "hub" {
			role = []string{"node", "-k", "hosts", "--node", name}
		}
		x.File(name+".token", x.token(role...))
	}
	// The agent tells its hub the new token.
	e2e.Eventually(t, "a second hello", func() bool {
		return strings.Contains(x.hub.Get("/metrics"), `kvexpress_hub_hellos_total{result="accepted"} 2`)
	})
	for _, token := range old {
		x.Store.Server.RevokeToken(t, token)
	}
	two := e2e.Text("two", 20)
	x.Publish("hosts", two)
	for name, d := range agents {
		d.Delivers(name+"-hosts", two)
	}
	if r := report(x.Site, x.hub.Addr, "hosts"); r.Nodes < 1 {
		t.Errorf("the hub knows of %d nodes", r.Nodes)
	}
	if line := lineWith(agents["web-1"].Said(), "refuses"); line != "" {
		t.Errorf("the agent says %s", line)
	}
}

// Nodes log in with a JWT, and get a token that reports as this node alone.
func TestLogin(t *testing.T) {
	t.Parallel()
	x := &guarded{Site: start(t, consultest.WithACL()), hub: &e2e.Hub{}}
	one := e2e.Text("one", 20)
	x.Publish("hosts", one)
	issuer := e2e.NewIssuer(t)
	consul := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), x.Store.Server.Bin, args...)
		cmd.Env = append(x.Env, "CONSUL_HTTP_ADDR="+x.Store.Server.Addr)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("consul %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	for _, node := range []string{"web-1", "web-2"} {
		rules := x.File(node+".hcl", x.Ok("acl", "node", "-k", "hosts", "--node", node))
		consul("acl", "policy", "create", "-name", "kvexpress-node-"+node, "-rules", "@"+rules)
	}
	consul("acl", "auth-method", "create", "-name", "kvexpress", "-type", "jwt", "-config", "@"+x.File("jwt.json", issuer.Config()))
	consul("acl", "binding-rule", "create", "-method", "kvexpress", "-bind-type", "policy", "-bind-name", "kvexpress-node-${value.node}")
	login := func(node string) {
		consul("login", "-method", "kvexpress", "-bearer-token-file", x.File(node+".jwt", issuer.Token(node)), "-token-sink-file",
			filepath.Join(x.Dir, node+".token"))
	}
	login("web-1")
	d := x.node("web-1", x.Read("web-1.token"), e2e.Fields{"hubs": nil}, "hosts")
	d.Delivers("web-1-hosts", one)
	own := x.Layout.NodesDir()
	e2e.Eventually(t, "the receipt", func() bool { return x.Store.Get(own+"web-1") != nil })

	// The next login replaces the token in the file, and the agent uses it.
	first := strings.TrimSpace(x.Read("web-1.token"))
	login("web-1")
	x.Store.Server.RevokeToken(t, first)
	two := e2e.Text("two", 20)
	x.Publish("hosts", two)
	d.Delivers("web-1-hosts", two)

	// The name comes from the JWT.
	says(x.node("web-2", x.Read("web-1.token"), e2e.Fields{"hubs": nil}, "hosts"), "receipt", "kvexpress-nodes/web-2")
	if x.Store.Get(own+"web-2") != nil {
		t.Error("web-1 has reported as web-2")
	}
}
