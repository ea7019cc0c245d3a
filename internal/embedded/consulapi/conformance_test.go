package consulapi_test

import (
	"testing"

	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/httpd"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/storetest"
)

// The client that talks to Consul must not notice a difference.
func TestConformance(t *testing.T) {
	addr, _ := serve(t, consulapi.Options{}, httpd.Options{})
	s := open(t, consul.Options{Addr: addr})
	storetest.Run(t, func(*testing.T) kv.Store { return s })
}
