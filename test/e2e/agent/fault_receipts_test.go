//go:build linux

package agent

import (
	"bytes"
	"fmt"
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
	after := func(d time.Duration) meddler {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			select {
			case <-time.After(d):
				next.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}
	}
	says := func(status int, text string) meddler {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, text, status) }
	}
	parts := e2e.Parts{}
	for name, trouble := range map[string]meddler{
		"none":       nil,
		"after 20 s": after(20 * time.Second),
		"no answer":  after(time.Hour),
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

// slow is what a delivery takes at most, on a machine that has other things to do, and less
// than the troubles last.
const slow = 5 * time.Second

// deliversWithout has every write of a receipt meet trouble.
func deliversWithout(t *testing.T, c *e2e.Cluster, trouble meddler) {
	x := c.Site(t, 0)
	front := newFront(t, x.Store.Server.Addr)
	var met beats
	if trouble != nil {
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
	}
	x.Publish("hosts", e2e.Version(0))
	x.ConfigWith("web-1", e2e.Fields{"reconcile": "10s"}, []string{front.addr}, to(x, "hosts"))
	d := x.Agent("web-1")
	d.Delivers("hosts", e2e.Version(0))
	var longest time.Duration
	for i := 1; i <= 10; i++ {
		x.Publish("hosts", e2e.Version(i))
		took := e2e.Within(t, time.Minute, "it arrives", func() bool { return x.Read("hosts") == e2e.Version(i) })
		longest = max(longest, took)
		e2e.Pause(700 * time.Millisecond) // in which the receipt is on its way
	}
	t.Logf("arrived after %v at most; %d requests of receipts met trouble", longest.Round(time.Millisecond), met.since(time.Time{}))
	if longest > slow {
		t.Errorf("it took %v", longest)
	}
	if s := d.Status().Store; !s.Up || strings.Contains(d.Said(), "store unreachable") {
		t.Errorf("because of a receipt, the store counts as unreachable: %+v\n%s", s, d.Said())
	}
	if trouble != nil && met.since(time.Time{}) == 0 {
		t.Error("no receipt was on its way: this test sees nothing")
	}

	// `out` waits for its receipt, for a while; the file does not.
	m := x.With("CONSUL_HTTP_ADDR=" + front.addr)
	ended := make(chan e2e.Result, 1)
	began := time.Now()
	go func() { ended <- m.Run("out", "-p", x.Prefix, "-k", "hosts", "-f", m.Path("by-out")) }()
	took := e2e.Within(t, time.Minute, "it arrives", func() bool { return x.Read("by-out") == e2e.Version(10) })
	r := <-ended
	said := 0
	if strings.HasSuffix(t.Name(), "/denied") {
		said = 1 // that the receipt was denied
	}
	if r.Code != 0 || strings.Count(r.Stderr, "\n") != said || took > slow || time.Since(began) > 30*time.Second {
		t.Errorf("out: exit %d after %v, the file after %v: %s", r.Code, time.Since(began), took, r.Stderr)
	}

	// The control: what delays everything delays deliveries, and it is seen.
	if trouble != nil {
		return
	}
	front.with(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			e2e.Pause(slow + 500*time.Millisecond)
		}
		next.ServeHTTP(w, r)
	})
	content := fmt.Sprint(e2e.Version(11))
	x.Publish("hosts", content)
	if took := e2e.Within(t, time.Minute, "it arrives", func() bool { return x.Read("hosts") == content }); took < slow {
		t.Errorf("the control: it arrives after %v", took)
	}
}
