package publish

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"kvexpress/internal/e2e"
)

// newProxy stands between kvexpress and Consul, and lets meddle decide what
// becomes of each request, one after the other. It returns its address.
func newProxy(t testing.TB, s *e2e.Store, meddle func(*exchange)) string {
	t.Helper()
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
		meddle(&exchange{t: t, upstream: s.Server.Addr, n: count, w: w, r: r, body: body})
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// exchange is one request of kvexpress on its way to Consul.
type exchange struct {
	t        testing.TB
	upstream string
	n        int // 1 for the first one that the proxy has seen
	w        http.ResponseWriter
	r        *http.Request
	body     []byte
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

// reads reports whether the request is a transaction that reads the path.
func (e *exchange) reads(path string) bool {
	for _, s := range e.steps() {
		if s.KV.Key == path && strings.HasPrefix(s.KV.Verb, "get") {
			return true
		}
	}
	return false
}

// pass hands the request to Consul, and its answer back.
func (e *exchange) pass() {
	resp := e.apply()
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		e.w.Header()[name] = values
	}
	e.w.WriteHeader(resp.StatusCode)
	if _, err := io.Copy(e.w, resp.Body); err != nil {
		e.t.Errorf("the proxy cannot answer: %v", err)
	}
}

// apply hands the request to Consul, and tells kvexpress nothing.
func (e *exchange) apply() *http.Response {
	url := "http://" + e.upstream + e.r.URL.RequestURI()
	req, err := http.NewRequestWithContext(e.r.Context(), e.r.Method, url, bytes.NewReader(e.body))
	if err != nil {
		e.t.Error(err)
		return nil
	}
	req.Header = e.r.Header
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		e.t.Errorf("the proxy cannot reach Consul: %v", err)
		return nil
	}
	return resp
}

// applied is apply for a write that has to succeed. Its answer gets lost.
func (e *exchange) applied() {
	resp := e.apply()
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		e.t.Errorf("Consul refused what was passed on: %s", resp.Status)
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
