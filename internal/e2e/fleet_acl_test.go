//go:build linux

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/consultest"
)

// Receipts where Consul denies by default, with the policies that `kvexpress acl`
// prints: who may write which, who may see them, and that nobody is delayed who may
// not. Taken out: that a denied receipt is logged once for each reason; then the log of
// web-2 has a line for each.
func TestReceiptPolicies(t *testing.T) {
	t.Parallel()
	receiptPolicies(t, startGuarded(t))
}

func receiptPolicies(t *testing.T, g *guarded) {
	t.Helper()
	c := &cluster{t: t, servers: []*consultest.Server{g.server}}
	x := c.site(t, 0)
	token := func(role ...string) string {
		return g.newToken(t, x.must(0, append([]string{"acl"}, role...)...).stdout)
	}
	node := func(name, of string) *daemon {
		x.file(name+".token", token("node", "-k", "hosts", "--node", of))
		x.configWith(name, fields{"reconcile": "10s", "token_file": x.path(name + ".token")}, nil, fields{"key": "hosts", "file": x.path(name)})
		return x.agent(name)
	}
	x.publish("hosts", version(1))
	own := node("web-1", "web-1")
	denied := node("web-2", "web-20") // its right is that of another
	own.delivers("web-1", version(1))
	denied.delivers("web-2", version(1))
	x.comesTo("hosts", "1 of 1")

	// Each reports as itself alone, by whatever request.
	for _, name := range []string{"web-1", "web-2", "web-20"} {
		for _, from := range []string{"web-1", "web-2"} {
			allowed := from == "web-1" && name == "web-1" || from == "web-2" && name == "web-20"
			ours := &store{t: t, server: g.server, token: x.read(from + ".token")}
			body := `[{"KV":{"Verb":"set","Key":"` + x.layout.Node(name) + `","Value":"e30="}}]`
			for path, b := range map[string]string{"/v1/kv/" + x.layout.Node(name): "{}", "/v1/txn": body} {
				if status, answer := ours.request(http.MethodPut, path, []byte(b)); (status == http.StatusOK) != allowed || !allowed && !tells(string(answer), "Permission denied", "key:write") {
					t.Errorf("%s writes the receipt of %s by %s: %d %s", from, name, path, status, answer)
				}
			}
			if status, _ := ours.request(http.MethodDelete, "/v1/kv/"+x.layout.Node(name), nil); !allowed && status != http.StatusForbidden {
				t.Errorf("%s removes the receipt of %s: %d", from, name, status)
			}
		}
	}
	x.store.remove(x.layout.Node("web-20"))

	publisher := x.with("CONSUL_HTTP_TOKEN=" + token("publisher", "-k", "hosts"))
	for n := 2; n <= 5; n++ {
		r := publisher.want(0, "in", "-p", x.prefix, "-k", "hosts", "-f", x.file("source", version(n)), "--wait", "100%", "--json")
		if s := x.told(r); counts(s.Wait.Fleet) != "1 of 1" || r.stderr != "" {
			t.Errorf("in --wait: %s%s", r.stdout, r.stderr)
		}
		x.holds("web-1", version(n))
		denied.delivers("web-2", version(n))
	}
	publisher.want(0, "status", "-p", x.prefix, "-k", "hosts", "--wait", "100%")
	publisher.fails(7, []string{"permission denied", "`kvexpress acl operator"}, "forget", "-p", x.prefix, "web-1")

	// What is denied is told, and once.
	eventually(t, "the agent tells of the receipt", func() bool { return strings.Contains(denied.said(), "the receipt was not written") })
	if n := strings.Count(denied.said(), "the receipt was not written"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, denied.said())
	}
	if s := denied.status(); !s.Store.Up || !tells(s.Receipt.Error, "permission denied", "`kvexpress acl node") {
		t.Errorf("%+v", s.Receipt)
	}
	if strings.Contains(own.said(), "receipt") || own.status().Receipt.Error != "" {
		t.Errorf("web-1 says:\n%s", own.said())
	}
	if x.stands("web-2") != nil {
		t.Error("web-2 has a receipt")
	}

	// `out` with such a token, and with the right one.
	x.file("source", version(5))
	without := x.with("CONSUL_HTTP_TOKEN=" + x.read("web-1.token"))
	for range 2 {
		if r := without.want(0, "out", "-p", x.prefix, "-k", "hosts", "-f", x.path("by-out")); r.stderr != "" {
			t.Errorf("out complains: %s", r.stderr)
		}
	}
	x.holds("by-out", version(5))
	if x.stands(hostname(t)) != nil {
		t.Error("out wrote a receipt")
	}
	with := x.with("CONSUL_HTTP_TOKEN=" + token("node", "-k", "hosts", "--node", hostname(t)))
	with.want(0, "out", "-p", x.prefix, "-k", "hosts", "-f", x.path("by-another"))
	x.comesTo("hosts", "2 of 2")

	// Who may not see all of them is told so, and no numbers.
	for name, m := range map[string]*machine{
		"no token":        x.with("CONSUL_HTTP_TOKEN="),
		"a node":          without,
		"one receipt":     x.with("CONSUL_HTTP_TOKEN=" + g.newToken(t, `key_prefix "`+x.prefix+`/" { policy = "read" } key "`+x.layout.Node("web-1")+`" { policy = "read" }`)),
		"all but one":     x.with("CONSUL_HTTP_TOKEN=" + g.newToken(t, `key_prefix "`+x.prefix+`" { policy = "read" } key "`+x.layout.Node("web-1")+`" { policy = "deny" }`)),
		"receipts, alone": x.with("CONSUL_HTTP_TOKEN=" + g.newToken(t, `key_prefix "`+x.layout.NodesDir()+`" { policy = "read" }`)),
	} {
		for _, more := range [][]string{{}, {"--wait", "50%", "--timeout", "5s"}} {
			if r := m.run(append([]string{"status", "-p", x.prefix, "-k", "hosts"}, more...)...); r.code != 7 || !tells(r.stderr, "permission denied", "`kvexpress acl") || r.stdout != "" {
				t.Errorf("%s, %v: exit %d: %s%s", name, more, r.code, r.stdout, r.stderr)
			}
		}
	}
	operator := x.with("CONSUL_HTTP_TOKEN=" + token("operator", "-k", "hosts"))
	operator.want(0, "status", "-p", x.prefix, "-k", "hosts", "--wait", "100%")
	operator.want(0, "forget", "-p", x.prefix, hostname(t))
	x.comesTo("hosts", "1 of 1")
}
