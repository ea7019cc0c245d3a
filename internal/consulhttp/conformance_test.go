package consulhttp_test

import (
	"testing"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/httpserve"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/store/storetest"
)

// The client that talks to Consul must not notice a difference.
func TestConformance(t *testing.T) {
	addr, _ := serve(t, consulhttp.Options{}, httpserve.Options{})
	s := open(t, consul.Options{Addr: addr})
	storetest.Run(t, func(*testing.T) kv.Store { return s })
}
