//go:build linux

package hub

import (
	"encoding/json"
	"strings"
	"testing"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// The output of a failed exec is shown to tokens that may read the key, by the hub of the node and by its peer. It is never in
// the store. A node with send_output: false does not send it.
func TestOutputOfFailedExec(t *testing.T) {
	t.Parallel()
	x := startGuarded(t)
	peer := x.Machine.With("CONSUL_HTTP_TOKEN=").Hub("peer", "--token-file", x.Path("hub.token"), "--peers", x.hub.Addr)
	x.Publish("hosts", e2e.Text("one", 20))
	fails := x.Script("fails", "[ -e "+x.Path("good")+" ] || { echo ${0##*/}: WORD-OF-$1 >&2; exit 3; }")
	nodes := map[string]*e2e.Daemon{}
	for name, send := range map[string]bool{"web-1": true, "web-2": false} {
		x.File(name+".token", x.token("node", "-k", "hosts", "--node", name))
		x.ConfigWith(name, e2e.Fields{"hubs": []string{x.hub.Addr}, "token_file": x.Path(name + ".token"), "send_output": send}, nil,
			e2e.Fields{"key": "hosts", "file": x.Path(name + "-hosts"), "min_lines": 1, "exec": fails + " " + name})
		nodes[name] = x.Machine.With("CONSUL_HTTP_TOKEN=").Agent(name)
	}
	for name, d := range nodes {
		e2e.Eventually(t, "the exec fails", func() bool { return strings.Contains(d.Target(name+"-hosts").Exec.Output, "WORD-OF-"+name) })
	}

	status := func(token string, args ...string) string {
		t.Helper()
		return x.Machine.With("CONSUL_HTTP_TOKEN=" + token).Run(append([]string{"status"}, args...)...).Stdout
	}
	operator := x.token("operator")
	for _, h := range []*e2e.Hub{x.hub, peer} {
		for _, about := range [][]string{{"-k", "hosts"}, {"--node", "web-1"}} {
			e2e.Eventually(t, "an operator sees the output", func() bool {
				return strings.Contains(status(operator, append(about, "--hub", h.Addr)...), "\n    fails: WORD-OF-web-1\n")
			})
		}
	}
	reads := `key_prefix "kvexpress" { policy = "read" } `
	for about, token := range map[string]string{
		"without the key": x.Store.Server.NewToken(t, reads+`key "kvexpress/hosts/data" { policy = "deny" }`),
		"the control":     x.Store.Server.NewToken(t, reads),
	} {
		for _, h := range []*e2e.Hub{x.hub, peer} {
			var r fleet.Report
			if err := json.Unmarshal([]byte(status(token, "-k", "hosts", "--hub", h.Addr, "--json")), &r); err != nil || len(r.Stragglers) != 2 {
				t.Fatalf("%s: %v, %+v", about, err, r)
			}
			if shown := r.Stragglers[0].Output == "fails: WORD-OF-web-1\n"; shown != (about == "the control") {
				t.Errorf("%s: web-1 has the output %q", about, r.Stragglers[0].Output)
			}
			if got := r.Stragglers[1].Output; got != "" {
				t.Errorf("%s: web-2 has the output %q", about, got)
			}
		}
	}

	inStore := func() {
		t.Helper()
		receipts := 0
		for _, path := range x.Store.Keys("") {
			row := x.Store.Get(path)
			text := string(row.Value)
			if name, ok := strings.CutPrefix(path, x.Layout.NodesDir()); ok {
				r, err := fleet.ParseReceipt(name, row.Value, row.Flags)
				b, bad := json.Marshal(r)
				if err != nil || bad != nil || len(r.Targets) != 1 {
					t.Errorf("%s: %v, %v, %s", path, err, bad, b)
				}
				text += string(b)
				receipts++
			}
			if strings.Contains(text, "WORD-OF") {
				t.Errorf("%s has the output: %s", path, text)
			}
		}
		if receipts != 2 {
			t.Errorf("the store has %d receipts", receipts)
		}
	}
	inStore()
	if got := status(operator, "-k", "hosts"); !strings.Contains(got, "web-1") || strings.Contains(got, "WORD-OF") {
		t.Errorf("without a hub:\n%s", got)
	}

	x.File("good", "")
	for name, d := range nodes {
		d.Becomes(name+"-hosts", outcome.Converged)
	}
	for _, h := range []*e2e.Hub{x.hub, peer} {
		e2e.Eventually(t, "the output is gone", func() bool {
			got := status(operator, "--node", "web-1", "--hub", h.Addr)
			return strings.Contains(got, "converged") && !strings.Contains(got, "WORD-OF")
		})
	}
	inStore()
}
