package consulhttp_test

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/store/local"
)

// serve runs a handler over a new store in memory, both of which end with the test.
func serve(t testing.TB, o consulhttp.Options) (*httptest.Server, *local.Engine) {
	t.Helper()
	if o.Engine == nil {
		engine, err := local.Open(local.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := engine.Close(); err != nil {
				t.Errorf("close the store: %v", err)
			}
		})
		o.Engine = engine
	}
	done := make(chan struct{})
	o.Done = done
	server := httptest.NewUnstartedServer(nil)
	server.Config = consulhttp.NewServer(consulhttp.New(o))
	server.Start()
	t.Cleanup(func() {
		close(done)
		server.Close()
	})
	return server, o.Engine
}

// open makes a store that the environment of the tests has no part in.
func open(t testing.TB, o consul.Options) *consul.Store {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "CONSUL_") {
			t.Setenv(name, "") // Consul's client takes empty for not set
		}
	}
	s, err := consul.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
