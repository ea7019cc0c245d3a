//go:build linux

package fleet

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// A snapshot brings back receipts. That of a node without an agent, which has another version
// meanwhile, counts as unknown, and as arrived once the node has reported again.
func TestRestoredReceipt(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	c := &e2e.Cluster{T: t, Servers: []*consultest.Server{server}}
	x := c.Site(t, 0)
	out := func() { x.Ok("out", "-p", x.Prefix, "-k", "hosts", "-f", x.Path("watch")) }
	counts := func(arrived, unknown int) {
		t.Helper()
		e2e.Eventually(t, fmt.Sprintf("status counts %d arrived, %d unknown", arrived, unknown), func() bool {
			var r fleet.Report
			err := json.Unmarshal([]byte(x.Ok("status", "-p", x.Prefix, "-k", "hosts", "--json")), &r)
			return err == nil && r.Nodes == 2 && r.Converged == arrived && r.Outcomes[outcome.Unknown] == unknown
		})
	}
	x.Publish("hosts", e2e.Version(1))
	x.ConfigWith("web-1", e2e.Fields{"reconcile": "10s"}, nil, e2e.Fields{"key": "hosts", "file": x.Path("web-1")})
	agent := x.Agent("web-1")
	agent.Delivers("web-1", e2e.Version(1))
	out()
	counts(2, 0)
	status, snapshot, err := server.Request(http.MethodGet, "/v1/snapshot", "", nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("take a snapshot: %d %v", status, err)
	}
	x.Publish("hosts", e2e.Version(2))
	agent.Delivers("web-1", e2e.Version(2))
	out()
	counts(2, 0)
	if status, answer, err := server.Request(http.MethodPut, "/v1/snapshot", "", snapshot); err != nil || status != http.StatusOK {
		t.Fatalf("restore a snapshot: %d %s %v", status, answer, err)
	}
	agent.Delivers("web-1", e2e.Version(1))
	counts(1, 1)
	x.Holds("watch", e2e.Version(2))
	out()
	counts(2, 0)
}
