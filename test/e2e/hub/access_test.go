//go:build linux

package hub

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// guarded is a Consul that denies by default, with a hub. Tokens have what `kvexpress acl` prints.
type guarded struct {
	*e2e.Site
	hub *e2e.Hub
}

func startGuarded(t *testing.T) *guarded {
	t.Helper()
	x := &guarded{Site: start(t, consultest.WithACL())}
	x.File("hub.token", x.token("hub"))
	x.hub = x.Site.Machine.With("CONSUL_HTTP_TOKEN=").Hub("hub", "--token-file", x.Path("hub.token"))
	return x
}

// token is a new token of a role.
func (x *guarded) token(role ...string) string {
	x.T.Helper()
	return x.Store.Server.NewToken(x.T, x.Ok(append([]string{"acl"}, role...)...))
}

// node runs an agent that has only this token. Its targets have the files NAME-KEY. With nil as hubs, it has none.
func (x *guarded) node(name, token string, more e2e.Fields, keys ...string) *e2e.Daemon {
	x.T.Helper()
	x.File(name+".token", token)
	all := e2e.Fields{"hubs": []string{x.hub.Addr}, "token_file": x.Path(name + ".token")}
	for k, v := range more {
		all[k] = v
	}
	if all["hubs"] == nil {
		delete(all, "hubs")
	}
	var targets []e2e.Fields
	for _, key := range keys {
		targets = append(targets, e2e.Fields{"key": key, "file": x.Path(name + "-" + key), "min_lines": 1})
	}
	x.ConfigWith(name, all, nil, targets...)
	return x.Site.Machine.With("CONSUL_HTTP_TOKEN=").Agent(name)
}

// A node gets the keys that its own token may read, although the hub's may read more. No byte of another key is sent to it.
func TestOnlyOwnKeys(t *testing.T) {
	t.Parallel()
	x := startGuarded(t)
	hosts, secret := e2e.Text("one", 20), e2e.Text("secret", 20)
	x.Publish("hosts", hosts)
	x.Publish("private", secret)
	seen := newLine(t, x.hub.Addr)
	a := x.node("web-1", x.token("node", "-k", "hosts", "--node", "web-1"), e2e.Fields{"hubs": []string{seen.addr}}, "hosts", "private")
	a.Delivers("web-1-hosts", hosts)
	if got := a.Becomes("web-1-private", outcome.Denied); !strings.Contains(got.Detail, "kvexpress acl node") {
		t.Errorf("without a remedy: %s", got.Detail)
	}
	x.Publish("private", e2e.Text("secret, too", 20))
	x.Publish("hosts", e2e.Text("two", 20))
	a.Delivers("web-1-hosts", e2e.Text("two", 20))
	x.Holds("web-1-private", "")
	if got := seen.passed(); !strings.Contains(got, hosts) || strings.Contains(got, "secret-0.example") ||
		strings.Contains(got, e2e.Sum(secret)) {
		t.Errorf("the hub sent (hosts: %t)\n%s", strings.Contains(got, hosts), e2e.Brief(got))
	}
	if asked := a.Status().Requests; asked > late {
		t.Errorf("the agent made %d requests to the store", asked)
	}
}

// A node reports under the names that its token may write. It gets its files all the same.
func TestForgedName(t *testing.T) {
	t.Parallel()
	x := startGuarded(t)
	x.Publish("hosts", e2e.Text("one", 20))
	token := x.token("node", "-k", "hosts", "--node", "web-1")
	honest := x.node("web-1", token, nil, "hosts")
	forger := x.node("web-2", token, nil, "hosts") // the token of web-1
	honest.Delivers("web-1-hosts", e2e.Text("one", 20))
	forger.Delivers("web-2-hosts", e2e.Text("one", 20))
	says(forger, "receipt", "kvexpress-nodes/web-2")
	own := x.Layout.NodesDir()
	e2e.Eventually(t, "the honest receipt is in the store", func() bool { return x.Store.Get(own+"web-1") != nil })
	if x.Store.Get(own+"web-2") != nil {
		t.Error("the forged receipt is in the store")
	}
	if r := report(x.Site, x.hub.Addr, "hosts"); r.Nodes != 1 || r.Converged != 1 {
		t.Errorf("the hub knows of %d nodes, %d converged, want 1", r.Nodes, r.Converged)
	}
}

// A token that is revoked, or loses a key, ends the fan-out to the node within a check of the hub. The file stays.
func TestRevoked(t *testing.T) {
	t.Parallel()
	x := startGuarded(t)
	one := e2e.Text("one", 20)
	x.Publish("hosts", one)
	token := x.token("node", "-k", "hosts", "--node", "web-1")
	a := x.node("web-1", token, nil, "hosts")
	unknown := x.node("web-2", "5f0c1f5e-7d5c-4a44-9f3b-2f0d6f6f8a51", nil, "hosts")
	other := x.node("web-3", x.token("node", "-k", "hosts", "--node", "web-3"), nil, "hosts")
	a.Delivers("web-1-hosts", one)
	other.Delivers("web-3-hosts", one)
	for _, d := range []*e2e.Daemon{unknown, x.hub.Daemon} {
		if line := says(d, "does not know the token of web-2", "token_file"); strings.Contains(line, "5f0c1f5e") {
			t.Errorf("the token is in a log: %s", line)
		}
	}
	unknown.Becomes("web-2-hosts", outcome.Denied)
	x.Holds("web-2-hosts", "")

	x.Store.Server.RevokeToken(t, token)
	took := e2e.Within(t, 75*time.Second, "the hub refuses the token", func() bool {
		return lineWith(a.Said(), "does not know the token of web-1") != ""
	})
	x.Publish("hosts", e2e.Text("two", 20))
	other.Delivers("web-3-hosts", e2e.Text("two", 20))
	after := e2e.Within(t, 75*time.Second, "the outcome is denied", func() bool { return a.Target("web-1-hosts").Outcome == outcome.Denied })
	t.Logf("refused %v after the revocation, denied %v later", took.Round(time.Second), after.Round(time.Second))
	x.Holds("web-1-hosts", one)

	// A new token is used after a reload.
	x.File("web-1.token", x.token("node", "-k", "hosts", "--node", "web-1"))
	a.Signal(syscall.SIGHUP)
	a.Delivers("web-1-hosts", e2e.Text("two", 20))
	e2e.Within(t, 2*time.Minute, "the agent is back at the hub", func() bool { return a.Status().Hub.Addr == x.hub.Addr })
}
