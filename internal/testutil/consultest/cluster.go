package consultest

import (
	"fmt"
	"slices"
	"testing"
)

// Cluster runs servers and clients that have joined each other, the servers
// first in what it returns, and waits until each is Ready. All keep their data,
// and each has its own address, 127.0.0.2 and up.
func Cluster(t testing.TB, servers, clients int, opts ...Option) []*Server {
	t.Helper()
	var all []*Server
	var addrs []string
	add := func(role Option) {
		t.Helper()
		bind := func(o *options) { o.bind = fmt.Sprintf("127.0.0.%d", 2+len(all)) }
		own := slices.Concat(opts, []Option{bind, WithJoin(addrs...), role})
		all = append(all, newServer(t, own))
	}
	for range servers {
		add(WithServer(servers))
		addrs = append(addrs, all[len(all)-1].SerfAddr)
	}
	for _, s := range all {
		s.Ready()
		// Each joined those before it. A restarted one must find the later ones,
		// too.
		s.opts.join = slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return a == s.SerfAddr })
	}
	for range clients {
		add(WithClient())
	}
	for _, s := range all[servers:] {
		s.Ready()
	}
	return all
}
