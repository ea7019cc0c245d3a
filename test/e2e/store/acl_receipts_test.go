//go:build linux

package store

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/fleet"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// receiptPolicies: receipts where the store denies by default, with the policies that `kvexpress acl`
// prints: who may write which, and who may read them. A node without the right is not
// delayed, and logs a denied receipt once.
func receiptPolicies(t *testing.T, g *guarded) {
	c := &e2e.Cluster{T: t, Servers: []*consultest.Server{g.Server}}
	x := c.Site(t, 0)
	token := func(role ...string) string {
		return g.newToken(t, x.Ok(append([]string{"acl", "-p", x.Prefix}, role...)...))
	}
	node := func(name, of string) *e2e.Daemon {
		x.File(name+".token", token("node", "-k", "hosts", "--node", of))
		x.ConfigWith(name, e2e.Fields{"reconcile": "10s", "token_file": x.Path(name + ".token")}, nil,
			e2e.Fields{"key": "hosts", "file": x.Path(name)})
		return x.Agent(name)
	}
	arrived := func(nodes int) {
		t.Helper()
		e2e.Eventually(t, fmt.Sprintf("it arrived at %d nodes of as many", nodes), func() bool {
			var r fleet.Report
			err := json.Unmarshal([]byte(x.Ok("status", "-p", x.Prefix, "-k", "hosts", "--json")), &r)
			return err == nil && r.Converged == nodes && r.Nodes == nodes
		})
	}
	denies := func(said, what string) bool {
		return strings.Contains(said, "ermission denied") && strings.Contains(said, what)
	}
	x.Publish("hosts", e2e.Version(1))
	own := node("web-1", "web-1")
	denied := node("web-2", "web-20") // it has the right of another node
	own.Delivers("web-1", e2e.Version(1))
	denied.Delivers("web-2", e2e.Version(1))
	arrived(1)

	// Each reports as itself alone, by whatever request.
	for _, name := range []string{"web-1", "web-2", "web-20"} {
		for _, from := range []string{"web-1", "web-2"} {
			allowed := from == "web-1" && name == "web-1" || from == "web-2" && name == "web-20"
			ours := &e2e.Store{T: t, Server: g.Server, Token: x.Read(from + ".token")}
			body := `[{"KV":{"Verb":"set","Key":"` + x.Layout.Node(name) + `","Value":"e30="}}]`
			for path, b := range map[string]string{"/v1/kv/" + x.Layout.Node(name): "{}", "/v1/txn": body} {
				if status, answer := ours.Request(http.MethodPut, path, []byte(b)); (status == http.StatusOK) != allowed || !allowed &&
					!denies(string(answer), "key:write") {
					t.Errorf("%s writes the receipt of %s by %s: %d %s", from, name, path, status, answer)
				}
			}
			if status, _ := ours.Request(http.MethodDelete, "/v1/kv/"+x.Layout.Node(name), nil); !allowed &&
				status != http.StatusForbidden {
				t.Errorf("%s removes the receipt of %s: %d", from, name, status)
			}
		}
	}
	x.Store.Remove(x.Layout.Node("web-20"))

	publisher := x.With("CONSUL_HTTP_TOKEN=" + token("publisher", "-k", "hosts"))
	for n := 2; n <= 5; n++ {
		r := publisher.Want(0, "in", "-p", x.Prefix, "-k", "hosts", "-f", x.File("source", e2e.Version(n)), "--wait", "100%", "--json")
		var told struct{ Wait struct{ Fleet fleet.Report } }
		if err := json.Unmarshal([]byte(r.Stdout), &told); err != nil || told.Wait.Fleet.Nodes != 1 || told.Wait.Fleet.Converged != 1 ||
			r.Stderr != "" {
			t.Errorf("in --wait: %s%s", r.Stdout, r.Stderr)
		}
		x.Holds("web-1", e2e.Version(n))
		denied.Delivers("web-2", e2e.Version(n))
	}
	publisher.Want(0, "status", "-p", x.Prefix, "-k", "hosts", "--wait", "100%")
	publisher.Fails(7, []string{"permission denied", "`kvexpress acl operator"}, "forget", "-p", x.Prefix, "web-1")

	// The agent logs a denied receipt once.
	e2e.Eventually(t, "the agent tells of the receipt", func() bool { return strings.Contains(denied.Said(), "not written") })
	if n := strings.Count(denied.Said(), "not written"); n != 1 {
		t.Errorf("it is logged %d times:\n%s", n, denied.Said())
	}
	if s := denied.Status(); !s.Store.Up || !denies(s.Receipt.Error, "`kvexpress acl node") {
		t.Errorf("%+v", s.Receipt)
	}
	if strings.Contains(own.Said(), "receipt") || own.Status().Receipt.Error != "" {
		t.Errorf("web-1 says:\n%s", own.Said())
	}
	if x.Store.Get(x.Layout.Node("web-2")) != nil {
		t.Error("web-2 has a receipt")
	}

	// `out` with such a token, and with the right one.
	x.File("source", e2e.Version(5))
	without := x.With("CONSUL_HTTP_TOKEN=" + x.Read("web-1.token"))
	for _, tried := range []bool{true, false} {
		r := without.Want(0, "out", "-p", x.Prefix, "-k", "hosts", "-f", x.Path("by-out"))
		if says := strings.Contains(r.Stderr, "acl node --node "+e2e.Hostname(t)+" -k hosts -p "+x.Prefix); says != tried {
			t.Errorf("out says: %s", r.Stderr)
		}
	}
	x.Holds("by-out", e2e.Version(5))
	if x.Store.Get(x.Layout.Node(e2e.Hostname(t))) != nil {
		t.Error("out wrote a receipt")
	}
	with := x.With("CONSUL_HTTP_TOKEN=" + token("node", "-k", "hosts", "--node", e2e.Hostname(t)))
	with.Want(0, "out", "-p", x.Prefix, "-k", "hosts", "-f", x.Path("by-another"))
	arrived(2)

	// A token that cannot read all receipts gets an error, and no numbers.
	for name, m := range map[string]*e2e.Machine{
		"no token": x.With("CONSUL_HTTP_TOKEN="),
		"a node":   without,
		"one receipt": x.With("CONSUL_HTTP_TOKEN=" +
			g.newToken(t, `key_prefix "`+x.Prefix+`/" { policy = "read" } key "`+x.Layout.Node("web-1")+`" { policy = "read" }`)),
		"all but one": x.With("CONSUL_HTTP_TOKEN=" +
			g.newToken(t, `key_prefix "`+x.Prefix+`" { policy = "read" } key "`+x.Layout.Node("web-1")+`" { policy = "deny" }`)),
		"receipts, alone": x.With("CONSUL_HTTP_TOKEN=" + g.newToken(t, `key_prefix "`+x.Layout.NodesDir()+`" { policy = "read" }`)),
	} {
		for _, more := range [][]string{{}, {"--wait", "50%", "--timeout", "5s"}} {
			if r := m.Run(append([]string{"status", "-p", x.Prefix, "-k", "hosts"}, more...)...); r.Code != 7 ||
				!denies(r.Stderr, "`kvexpress acl") || r.Stdout != "" {
				t.Errorf("%s, %v: exit %d: %s%s", name, more, r.Code, r.Stdout, r.Stderr)
			}
		}
	}
	operator := x.With("CONSUL_HTTP_TOKEN=" + token("operator", "-k", "hosts"))
	operator.Want(0, "status", "-p", x.Prefix, "-k", "hosts", "--wait", "100%")
	operator.Want(0, "forget", "-p", x.Prefix, e2e.Hostname(t))
	arrived(1)
}
