//go:build linux

package agent

import (
	"bytes"
	"io"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
	"net/http"
	"strings"
	"testing"
	"time"
)

// If receipts cannot be written, files still arrive as before. The result of a receipt does not
// open the circuit breaker: otherwise a limit on writes would make the store count as
// unreachable, and deliveries would wait.
func TestReceiptsNeverDelay(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	c := &e2e.Cluster{T: t, Servers: []*consultest.Server{s.Server}}
	says := func(status int, text string) meddler {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, text, status) }
	}
	parts := e2e.Parts{}
	for name, trouble := range map[string]meddler{
		"no answer": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() },
		"denied": says(http.StatusForbidden,
			"Permission denied: token with AccessorID '00000000-0000-0000-0000-000000000002' lacks permission 'key:write' on "+
				"\"x-nodes/web-1\""),
		"too many": says(http.StatusTooManyRequests,
			"rpc error making call: rate limit exceeded, try again later or against a different server"),
		"unavailable": says(http.StatusServiceUnavailable, "rpc error making call: rate limit exceeded"),
	} {
		parts[name] = func(t *testing.T) { deliversWithout(t, c, trouble) }
	}
	e2e.Together(t, parts)
}

// deliversWithout has every write of a receipt meet trouble.
func deliversWithout(t *testing.T, c *e2e.Cluster, trouble meddler) {
	x := c.Site(t, 0)
	front := newFront(t, x.Store.Server.Addr)
	var met beats
	front.with(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !bytes.Contains(body, []byte("-nodes/")) {
			next.ServeHTTP(w, r)
			return
		}
		met.add()
		trouble(w, r, next)
	})
	x.Publish("hosts", e2e.Version(0))
	x.ConfigWith("web-1", e2e.Fields{"reconcile": "10s"}, []string{front.addr}, to(x, "hosts"))
	d := x.Agent("web-1")
	d.Delivers("hosts", e2e.Version(0))
	for i := 1; i <= 10; i++ {
		x.Publish("hosts", e2e.Version(i))
		d.Delivers("hosts", e2e.Version(i))
		e2e.Pause(700 * time.Millisecond) // in which the receipt is on its way
	}
	if s := d.Status().Store; !s.Up || strings.Contains(d.Said(), "store unreachable") {
		t.Errorf("because of a receipt, the store counts as unreachable: %+v\n%s", s, d.Said())
	}
	if met.since(time.Time{}) == 0 {
		t.Error("no receipt was on its way: this test sees nothing")
	}

	// `out` waits for its receipt, for a while; the file does not.
	m := x.With("CONSUL_HTTP_ADDR=" + front.addr)
	before := met.since(time.Time{})
	r := m.Run("out", "-p", x.Prefix, "-k", "hosts", "-f", m.Path("by-out"))
	said := 0
	if strings.HasSuffix(t.Name(), "/denied") {
		said = 1 // that the receipt was denied
	}
	if r.Code != 0 || strings.Count(r.Stderr, "\n") != said || x.Read("by-out") != e2e.Version(10) {
		t.Errorf("out: exit %d, the file is %s: %s", r.Code, e2e.Brief(x.Read("by-out")), r.Stderr)
	}
	if met.since(time.Time{}) == before {
		t.Error("`out` wrote no receipt: this test sees nothing")
	}
}

// The control of TestReceiptsNeverDelay: what delays all writes and reads of the agent delays deliveries, and is seen.
func TestHeldRequestsDelay(t *testing.T) {
	t.Parallel()
	s, _ := e2e.Start(t)
	x := (&e2e.Cluster{T: t, Servers: []*consultest.Server{s.Server}}).Site(t, 0)
	front := newFront(t, x.Store.Server.Addr)
	x.Publish("hosts", e2e.Version(0))
	x.ConfigWith("web-1", e2e.Fields{"reconcile": "10s"}, []string{front.addr}, to(x, "hosts"))
	d := x.Agent("web-1")
	d.Delivers("hosts", e2e.Version(0))
	release := make(chan struct{})
	front.with(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		<-release
		next.ServeHTTP(w, r)
	})
	x.Publish("hosts", e2e.Version(1))
	e2e.Pause(3 * time.Second)
	if x.Read("hosts") != e2e.Version(0) {
		t.Error("it arrives although the agent's requests are held")
	}
	close(release)
	d.Delivers("hosts", e2e.Version(1))
}
