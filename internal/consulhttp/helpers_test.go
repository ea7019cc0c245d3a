package consulhttp_test

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/longpoll"
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
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Server == nil {
		o.Server = longpoll.New(0, "")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.Server.Serve(ctx, ln, consulhttp.New(o)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &httptest.Server{URL: "http://" + ln.Addr().String(), Listener: ln}, o.Engine
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
