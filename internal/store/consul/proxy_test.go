package consul

import (
	"testing"
)

// A proxy from the environment would see the token. (It is never asked about
// loopback addresses, so that no server of a test could tell.)
func TestNoProxy(t *testing.T) {
	for _, to := range []target{{scheme: "http", host: "consul.example"}, {scheme: "https", host: "consul.example"}} {
		transport, err := newTransport(to, settings{})
		if err != nil {
			t.Fatal(err)
		}
		if transport.Proxy != nil {
			t.Errorf("requests to %s may go through a proxy", to)
		}
	}
}
