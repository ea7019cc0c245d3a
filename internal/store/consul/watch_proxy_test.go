package consul_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

// shortProxy is a proxy that waits 2 s for an answer, then calls end. It counts these calls.
func shortProxy(t *testing.T, to string, end http.HandlerFunc) (addr string, ended *atomic.Int64) {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	proxy.Transport = &http.Transport{ResponseHeaderTimeout: 2 * time.Second}
	ended = new(atomic.Int64)
	proxy.ErrorHandler = func(w http.ResponseWriter, r *http.Request, _ error) {
		if r.Context().Err() == nil {
			ended.Add(1)
		}
		end(w, r)
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), ended
}

// If a proxy ends waits, Watch still waits for as long as it was asked to, and then returns the change.
func TestWaitsThatAProxyEnds(t *testing.T) {
	real := consultest.Start(t)
	withoutEnvironment(t)
	for name, end := range map[string]http.HandlerFunc{
		"504":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGatewayTimeout) },
		"408":                 func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestTimeout) },
		"a closed connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, ended := shortProxy(t, real.Addr, end)
			s, err := consul.New(consul.Options{Addr: addr, Bare: true, Lasting: true})
			if err != nil {
				t.Fatal(err)
			}
			path := "proxied/" + kv.NewID()
			put := func(value string) {
				if _, err := s.Commit(t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: []byte(value)}}); err != nil {
					t.Fatal(err)
				}
			}
			put("one")
			was, err := s.Watch(t.Context(), path, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			same, err := s.Watch(t.Context(), path, was.Index, 5*time.Second)
			if took := time.Since(began); err != nil || same.Index != was.Index || took < 4*time.Second {
				t.Errorf("after %v: %+v, %v", took, same, err)
			}
			if ended.Load() == 0 {
				t.Error("the proxy ended no wait")
			}
			done := make(chan struct{})
			go func() { defer close(done); <-time.After(3 * time.Second); put("two") }()
			next, err := s.Watch(t.Context(), path, was.Index, 30*time.Second)
			<-done
			if err != nil || string(next.Value) != "two" {
				t.Errorf("after that: %+v, %v", next, err)
			}
		})
	}
}
