//go:build linux

package hub

import (
	"os"
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// A dry run asks the hub, and changes nothing: no file, no state, no receipt.
func TestDryRun(t *testing.T) {
	t.Parallel()
	x := start(t)
	x.Publish("hosts", e2e.Text("one", 20))
	h := x.Hub("hub")
	configure(x, "web-1", e2e.Fields{"direct": false, "stores": []string{"127.0.0.1:1"}}, h.Addr)
	plan := []string{"agent", "-C", x.Path("web-1.yml"), "--once", "--dry-run", "--diff"}
	if got := x.Ok(plan...); !strings.Contains(got, "web-1-hosts: would install version 1 of hosts (20 lines") ||
		!strings.Contains(got, "+127.0.0.1 one-0.example") {
		t.Errorf("the dry run says\n%s", got)
	}
	x.Holds("web-1-hosts", "")
	if _, err := os.Stat(x.Path("web-1.state")); err == nil {
		t.Error("there is a state folder")
	}
	a := x.Agent("web-1")
	a.Delivers("web-1-hosts", e2e.Text("one", 20))
	var before string
	e2e.Eventually(t, "the receipt of the file", func() bool {
		row := x.Store.Get(x.Layout.NodesDir() + "web-1")
		if row != nil {
			before = string(row.Value)
		}
		return strings.Contains(before, "converged")
	})
	if got := x.Ok(plan...); !strings.Contains(got, "unchanged; it has version 1") {
		t.Errorf("beside the agent, the dry run says\n%s", got)
	}
	if after := x.Store.Value(x.Layout.NodesDir() + "web-1"); after != before {
		t.Errorf("the receipt was\n%s\nand is\n%s", before, after)
	}
}
