//go:build linux

package agent

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// Answers that are no answers, from something between the agent and
// Consul.

// fake is a way to answer, and the expected reaction of an agent.
type fake struct {
	name   string
	meddle meddler
	// follows: a new version gets through all the same.
	follows bool
	// up: the agent still takes it for a store.
	up bool
	// pairs: each time that it tries again, a watch is answered before a read fails.
	pairs bool
	// retried: requests that are made again before the store counts as unreachable.
	retried int
}

func fakes() []fake {
	say := func(status int, contentType, body string) meddler {
		return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	index := func(values ...string) meddler {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(&reheader{ResponseWriter: w, edit: func(h http.Header) {
				if h.Get("X-Consul-Index") != "" {
					h.Del("X-Consul-Index")
					for _, v := range values {
						h.Add("X-Consul-Index", v)
					}
				}
			}}, r)
		}
	}
	redirect := func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Location", "http://127.0.0.1:1/login")
		w.WriteHeader(http.StatusFound)
	}
	return []fake{
		{name: "no index", meddle: index()},
		{name: "index 0", meddle: index("0")},
		{name: "a negative index", meddle: index("-1")},
		{name: "an index that is no number", meddle: index("soon")},
		{name: "an index beyond all numbers", meddle: index("99999999999999999999999")},
		// With these it is a store, but its watches are useless: a version arrives because
		// the agent reconciles by itself every 10 s.
		{name: "a huge index", meddle: index("18446744073709551615"), follows: true, up: true},
		{name: "always the same index", meddle: index("1"), follows: true, up: true},
		{name: "another index each time", meddle: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			index("1"+strings.Repeat("0", rand.N(15)))(w, r, next)
		}, follows: true, up: true},

		{name: "429", retried: 4, // a watch and a read, each twice
			meddle: say(429, "text/plain", "Your IP is issuing too many concurrent connections, please rate limit your calls")},
		{name: "500", meddle: say(500, "text/plain", "rpc error making call: EOF")},
		{name: "500, no leader", meddle: say(500, "text/plain", "No cluster leader")},
		// A server without a leader goes on answering watches.
		{name: "500 for reads", meddle: only("/v1/txn", say(500, "text/plain", "No cluster leader")), pairs: true},
		{name: "500 for watches", meddle: only("/v1/kv/", say(500, "text/plain", "rpc error making call: EOF"))},
		{name: "503", meddle: say(503, "text/html", "<h1>Service Unavailable</h1>")},

		{name: "a captive portal", meddle: say(200, "text/html", "<html>Log in, and all is true</html>")},
		{name: "a captive portal that redirects", meddle: redirect},
		{name: "true", meddle: say(200, "application/json", "true")},
		{name: "an empty list", meddle: say(200, "application/json", "[]")},
		{name: "a page that is not found", meddle: say(404, "text/html", "<h1>404</h1>")},
	}
}

// only changes answers to requests for paths with this prefix.
func only(path string, m meddler) meddler {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasPrefix(r.URL.Path, path) {
			m(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// reheader changes the header of an answer.
type reheader struct {
	http.ResponseWriter
	edit func(http.Header)
}

func (w *reheader) WriteHeader(status int) {
	w.edit(w.Header())
	w.ResponseWriter.WriteHeader(status)
}

func (w *reheader) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// agentAndFakes runs an agent against each of them for a while, in which a version is
// published: the file is never wrong, requests stay rare, and afterwards the agent converges.
// Without the check of the index, five of them pass for a store. Without the limit on the
// returns of a watch, one with a constant index causes 19,000 requests. Without the pauses of
// the circuit breaker there are 27 requests instead of 5. If a watch did not start again
// without an index after a failed read, the last version would not arrive.
func agentAndFakes(t *testing.T, c *e2e.Cluster) {
	parts := e2e.Parts{}
	for _, f := range fakes() {
		parts[f.name] = func(t *testing.T) { agentAndFake(t, c, f) }
	}
	e2e.Together(t, parts)
}

const (
	fakeTime = 15 * time.Second
	// mostRequests limits the requests of an agent with one target in fakeTime:
	// the first retries, and one in 5 s. If the agent still takes it for a store:
	// ten returns of a watch at once and then four a second, each with one or two
	// requests of a reconcile.
	mostRequestsAway = 3 + int(fakeTime/(5*time.Second)) + 2
	mostRequestsUp   = (10 + int(fakeTime/(250*time.Millisecond))) * 3
)

func agentAndFake(t *testing.T, c *e2e.Cluster, f fake) {
	x := c.Site(t, rand.N(3))
	front := newFront(t, x.Store.Server.Addr)
	x.Publish("hosts", e2e.Version(1))
	x.ConfigWith("agent", e2e.Fields{"reconcile": "10s", "receipts": false}, []string{front.addr}, to(x, "hosts"))
	d := x.Agent("agent")
	d.Delivers("hosts", e2e.Version(1))

	from := time.Now()
	front.with(f.meddle)
	x.Publish("hosts", e2e.Version(2)) // which the watch that is under way may still bring
	e2e.Pause(time.Second)
	x.Publish("hosts", e2e.Version(3))
	if f.follows {
		d.Delivers("hosts", e2e.Version(3))
	} else {
		d.Becomes("hosts", outcome.Unreachable)
	}
	before := x.Read("hosts")
	e2e.Pause(time.Until(from.Add(fakeTime)))
	requests := front.requests.since(from)
	x.Holds("hosts", before)
	if n := number(x, "hosts"); n < 1 || n > 3 {
		t.Errorf("the file holds %s", e2e.Brief(before))
	}
	most := mostRequestsAway
	switch {
	case f.up:
		most = mostRequestsUp
	case f.pairs:
		most *= 2
	}
	most += f.retried
	t.Logf("%d requests in %v, at most %d are allowed", requests, time.Since(from).Round(time.Second), most)
	if requests > most {
		t.Errorf("%d requests in %v", requests, time.Since(from))
	}
	if f.pairs { // it is up for the moment between the watch and the read
		e2e.Eventually(t, "the store is not up", func() bool { return !d.Status().Store.Up })
	} else if s := d.Status().Store; s.Up != f.up {
		t.Errorf("the store: %+v", s)
	}

	// A version that was published meanwhile arrives without another publish.
	front.with(nil)
	d.Delivers("hosts", e2e.Version(3))
	x.Publish("hosts", e2e.Version(4))
	d.Delivers("hosts", e2e.Version(4))
}
