//go:build linux

package fleet

import (
	"cmp"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

const day = 24 * time.Hour

// sane fails the test if a wrong clock shows in any figure.
func sane(t *testing.T, s seen) {
	t.Helper()
	for name, p := range map[string]fleet.Percentiles{"delivered": s.Delivered, "on the node": s.OnNode, "exec": s.Exec} {
		if time.Duration(p.Slowest) > 10*time.Second || p.P50 > p.Slowest || p.P50 < 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if s.Delivered.Count+s.Unmeasured != s.Converged+s.Outcomes[outcome.Pending] || time.Duration(s.Ago) > time.Minute {
		t.Errorf("delivered %+v, %d not measured, published %v ago", s.Delivered, s.Unmeasured, time.Duration(s.Ago))
	}
	for _, l := range s.Stragglers {
		if time.Duration(l.LastSeen) > time.Minute {
			t.Errorf("last receipt of %s %v ago", l.Node, time.Duration(l.LastSeen))
		}
	}
}

// off fails the test unless just these clocks are named, each by so much.
func off(t *testing.T, s seen, want map[string]time.Duration) {
	t.Helper()
	named := map[string]time.Duration{}
	for _, c := range s.Clocks {
		named[cmp.Or(c.Node, c.Who)] = time.Duration(c.Off)
	}
	if len(named) != len(want) {
		t.Errorf("named are the clocks %v, want %v", named, want)
	}
	for who, by := range want {
		if d := named[who] - by; d.Abs() > 2*time.Second {
			t.Errorf("the clock of %q is off by %v, want %v", who, named[who], by)
		}
	}
}

// programsADayOff: an agent, a publisher and a reader of status, whose clocks are a day off, among
// nodes whose clocks are right. The programs have the clock of this machine. So a proxy
// shifts the store's Date by a day, and the receipts of all other nodes are shifted too. If
// status did not correct its own clock, nodes would have no contact, and the wait would end with
// exit 0, or wait for dead nodes. If agent and publisher did not report their offsets, their
// clocks would not be named, or by the wrong amount.
func programsADayOff(t *testing.T, c *e2e.Cluster) {
	for name, is := range map[string]time.Duration{"ahead": day, "behind": -day} {
		t.Run(name, func(t *testing.T) {
			x := c.Site(t, 0)
			front := dated(t, x.Store.Server.Addr, -is)
			x.Machine = x.With("CONSUL_HTTP_ADDR=" + front)
			right := sent(-is) // by the clock of the store
			byRight := func(m *kv.Manifest) { m.PublishedAt = m.PublishedAt.Add(-is) }
			x.Publish("hosts", e2e.Version(1))
			putReceipt(x, "dead", honest(x, "dead", "hosts", sent(-is-5*time.Minute)))
			rewrite(x, "hosts", byRight) // after it: a node that reports after a publish has contact
			putFleet(x, "hosts", 4, right)
			x.ConfigWith("wrong", e2e.Fields{"reconcile": "10s"}, []string{front}, e2e.Fields{"key": "hosts", "file": x.Path("hosts")})
			d := x.Agent("wrong")
			d.Delivers("hosts", e2e.Version(1))
			s := comesTo(x, "hosts", "5 of 5, 1 no_contact")
			sane(t, s)
			off(t, s, map[string]time.Duration{"here": is, "wrong": is})

			s, _ = inWait(x, 9, "hosts", e2e.Version(2), "-l", "1", "--wait", "100%", "--timeout", "3s")
			if counts(s.Wait.Fleet) != "1 of 5, 4 outdated, 1 no_contact" {
				t.Errorf("it is %s", counts(s.Wait.Fleet))
			}
			putFleet(x, "hosts", 4, right)
			s = told(x, must(x, 0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "10s", "--json"))
			if counts(s.Report) != "5 of 5, 1 no_contact" || s.Delivered.Count != 0 {
				t.Errorf("it is %s: %+v", counts(s.Report), s.Delivered)
			}
			sane(t, s)
			off(t, s, map[string]time.Duration{"here": is, "publisher": is, "wrong": is})

			x.Publish("hosts", e2e.Version(3))
			rewrite(x, "hosts", byRight)
			d.Delivers("hosts", e2e.Version(3))
			putFleet(x, "hosts", 4, right)
			s = comesTo(x, "hosts", "5 of 5, 1 no_contact")
			if sane(t, s); s.Delivered.Count != 4 {
				t.Errorf("delivered %+v", s.Delivered)
			}
			off(t, s, map[string]time.Duration{"here": is, "wrong": is})
		})
	}
}

// dated is a way to a store whose answers have another Date.
func dated(t *testing.T, store string, off time.Duration) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: store})
	proxy.ErrorLog = log.New(io.Discard, "", 0) // a killed client closes the connection
	proxy.ModifyResponse = func(r *http.Response) error {
		date, err := http.ParseTime(r.Header.Get("Date"))
		r.Header.Set("Date", date.Add(off).Format(http.TimeFormat))
		return err
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
