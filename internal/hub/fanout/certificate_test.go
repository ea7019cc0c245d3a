package fanout_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"kvexpress/internal/hub/fanout"
	"kvexpress/internal/wire"
)

// With certificates, the name in the certificate is the node's, and the token needs no right to the receipt.
func TestNodeFromCertificate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		by    bool
		names []string
		says  string // of a refusal
		taken int
	}{
		{"its own name", true, []string{"other", "web-1"}, "", 1},
		{"another name", true, []string{"web-2"}, `"web-2", and its node is "web-1"`, 0},
		{"another spelling", true, []string{"WEB-1", "*"}, "set node in agent.yml", 0},
		{"no certificate", true, nil, `for ""`, 0},
		{"the token decides", false, []string{"web-2"}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(o *fanout.Options) { o.ByCertificate = tt.by })
				w.publish("hosts", "one")
				w.denied["kvexpress-nodes/web-1"] = true
				c := w.connect(t)
				c.pair.Names = tt.names
				defer func() { c.pair.Cut(); <-c.done }()
				c.send(hello(target("hosts", "")))
				m := c.next()
				if tt.says != "" {
					if m.Refused == nil || m.Refused.Reason != wire.Invalid || !strings.Contains(m.Refused.Says, tt.says) {
						t.Fatalf("got %+v, want a refusal with %s", m, tt.says)
					}
					return
				}
				if m.Welcome == nil || (m.Welcome.NoReceipts == "") != tt.by {
					t.Fatalf("got %+v", m)
				}
				if s := c.snapshot(); dataOf(s) != "one" {
					t.Errorf("got %+v", s)
				}
				c.send(wire.FromAgent{Receipt: []byte("{}")})
				synctest.Wait()
				if w.taken != tt.taken {
					t.Errorf("%d receipts are taken, want %d", w.taken, tt.taken)
				}
			})
		})
	}
}
