//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// receiptsNeverDelay: whatever becomes of the receipts, files arrive as before. Taken
// out: that what becomes of a receipt says nothing of the store; then a limit on writes
// has it be away, and deliveries wait for its return.
func receiptsNeverDelay(t *testing.T, c *cluster) {
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
	var parts []part
	for name, trouble := range map[string]meddler{
		"none":        nil,
		"after 5 s":   after(5 * time.Second),
		"no answer":   after(time.Hour),
		"denied":      says(http.StatusForbidden, "Permission denied: token with AccessorID '00000000-0000-0000-0000-000000000002' lacks permission 'key:write' on \"x-nodes/web-1\""),
		"too many":    says(http.StatusTooManyRequests, "rpc error making call: rate limit exceeded, try again later or against a different server"),
		"unavailable": says(http.StatusServiceUnavailable, "rpc error making call: rate limit exceeded"),
	} {
		parts = append(parts, part{name, func(t *testing.T) { deliversWithout(t, c, trouble) }})
	}
	together(t, parts...)
}

// deliversWithout has every write of a receipt meet trouble.
func deliversWithout(t *testing.T, c *cluster, trouble meddler) {
	x := c.site(t, 0)
	front := newFront(t, x.store.server.Addr)
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
	x.publish("hosts", version(0))
	x.configWith("web-1", fields{"reconcile": "10s"}, []string{front.addr}, x.to("hosts"))
	d := x.agent("web-1")
	d.delivers("hosts", version(0))
	var longest time.Duration
	for i := 1; i <= 10; i++ {
		x.publish("hosts", version(i))
		took := within(t, time.Minute, "it arrives", func() bool { return x.read("hosts") == version(i) })
		longest = max(longest, took)
		pause(700 * time.Millisecond) // in which the receipt is on its way
	}
	t.Logf("arrived after %v at most; %d requests of receipts met trouble", longest.Round(time.Millisecond), met.since(time.Time{}))
	if longest > 2*time.Second {
		t.Errorf("it took %v", longest)
	}
	if s := d.status().Store; !s.Up || strings.Contains(d.said(), "the store is away") {
		t.Errorf("for a receipt, the store is taken to be away: %+v\n%s", s, d.said())
	}
	if trouble != nil && met.since(time.Time{}) == 0 {
		t.Error("no receipt was on its way: this test sees nothing")
	}

	// `out` waits for its receipt, for a while; the file does not.
	m := x.with("CONSUL_HTTP_ADDR=" + front.addr)
	ended := make(chan result, 1)
	began := time.Now()
	go func() { ended <- m.run("out", "-p", x.prefix, "-k", "hosts", "-f", m.path("by-out")) }()
	took := within(t, time.Minute, "it arrives", func() bool { return x.read("by-out") == version(10) })
	r := <-ended
	if r.code != 0 || r.stderr != "" || took > 2*time.Second || time.Since(began) > 10*time.Second {
		t.Errorf("out: exit %d after %v, the file after %v: %s", r.code, time.Since(began), took, r.stderr)
	}

	// The control: what delays everything delays deliveries, and it is seen.
	if trouble != nil {
		return
	}
	front.with(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			pause(2500 * time.Millisecond)
		}
		next.ServeHTTP(w, r)
	})
	content := fmt.Sprint(version(11))
	x.publish("hosts", content)
	if took := within(t, time.Minute, "it arrives", func() bool { return x.read("hosts") == content }); took < 2*time.Second {
		t.Errorf("the control: it arrives after %v", took)
	}
}
