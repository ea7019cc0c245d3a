package publish

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"kvexpress/test/e2e"
)

// newProxy starts a proxy between kvexpress and Consul. meddle handles each request, one
// after the other. It returns the address.
func newProxy(t testing.TB, s *e2e.Store, meddle func(*exchange)) string {
	t.Helper()
	next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Server.Addr})
	next.Transport = &http.Transport{DisableKeepAlives: true} // no request fails because of an old connection
	var one sync.Mutex
	count := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one.Lock()
		defer one.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the proxy cannot read a request: %v", err)
			return
		}
		count++
		meddle(&exchange{t: t, next: next, n: count, w: w, r: r, body: body})
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// exchange is one request of kvexpress on its way to Consul.
type exchange struct {
	t    testing.TB
	next http.Handler // Consul
	n    int          // 1 for the first one that the proxy has seen
	w    http.ResponseWriter
	r    *http.Request
	body []byte
}

// step is one operation of a transaction.
type step struct{ KV struct{ Verb, Key string } }

// steps are the operations of the request, none if it is no transaction.
func (e *exchange) steps() []step {
	var steps []step
	if e.r.URL.Path == "/v1/txn" {
		if err := json.Unmarshal(e.body, &steps); err != nil {
			e.t.Errorf("a transaction cannot be read: %v", err)
		}
	}
	return steps
}

// writes reports whether the request is a transaction that writes the path.
func (e *exchange) writes(path string) bool {
	for _, s := range e.steps() {
		if s.KV.Key == path && (s.KV.Verb == "set" || s.KV.Verb == "cas") {
			return true
		}
	}
	return false
}

// pass hands the request to Consul, and its answer back.
func (e *exchange) pass() { e.next.ServeHTTP(e.w, e.request()) }

func (e *exchange) request() *http.Request {
	r := e.r.Clone(e.r.Context())
	r.Body = io.NopCloser(bytes.NewReader(e.body))
	return r
}

// applied hands a write to Consul that has to succeed. Its answer gets lost.
func (e *exchange) applied() {
	lost := httptest.NewRecorder()
	e.next.ServeHTTP(lost, e.request())
	if lost.Code != http.StatusOK {
		e.t.Errorf("Consul refused the request that was passed on: %d %s", lost.Code, lost.Body)
	}
}

// hangUp closes the connection without an answer.
func (e *exchange) hangUp() {
	conn, _, err := http.NewResponseController(e.w).Hijack()
	if err != nil {
		e.t.Errorf("the proxy cannot hang up: %v", err)
		return
	}
	conn.Close()
}

// say answers in Consul's place.
func (e *exchange) say(status int, contentType, body string) {
	e.w.Header().Set("Content-Type", contentType)
	e.w.WriteHeader(status)
	if _, err := io.WriteString(e.w, body); err != nil {
		e.t.Errorf("the proxy cannot answer: %v", err)
	}
}
