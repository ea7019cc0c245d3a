package consul_test

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// open makes a store that the environment of the tests has no part in.
func open(t testing.TB, o consul.Options) *consul.Store {
	t.Helper()
	withoutEnvironment(t)
	s, err := consul.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func withoutEnvironment(t testing.TB) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "CONSUL_") {
			t.Setenv(name, "") // Consul's client takes empty for not set
		}
	}
}

// serve runs a stand-in for Consul, which has read each request to its end.
func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Errorf("read the request: %v", err)
		}
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

const (
	readPath  = "kvexpress/hosts/checksum"
	writePath = "kvexpress/hosts/data"
)

// requests makes one request of each kind and yields its error.
func requests(ctx context.Context, s *consul.Store) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		_, err := s.Read(ctx, kv.Default, readPath)
		if !yield("Read", err) {
			return
		}
		_, err = s.Keys(ctx, "kvexpress/")
		if !yield("Keys", err) {
			return
		}
		_, err = s.Commit(ctx, []kv.Op{{Verb: kv.Set, Path: writePath, Value: []byte("x")}})
		yield("Commit", err)
	}
}
