//go:build linux

package lab_test

import (
	"testing"

	"kvexpress/internal/lab"
)

// A service that leaves the catalog is known nowhere any more, and one that comes is
// known everywhere.
func TestAServiceLeavesAndComes(t *testing.T) {
	t.Parallel()
	s := start(t, lab.Options{Servers: 3, Nodes: 10, Services: 60})
	if first := s.Recorder.Versions()[0]; len(first.Hosts) != 60+1 { // and localhost
		t.Errorf("the first version has %d names: the lab did not wait for its catalog", len(first.Hosts))
	}
	for _, service := range s.Services[:3] {
		for _, up := range []bool{false, true} {
			c, err := s.Make(t.Context(), service, up)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range s.Nodes {
				answer, err := n.Ask(t.Context(), service.Name)
				if err != nil || answer.Exists != up || up && answer.Addrs[0] != service.Addr() {
					t.Errorf("%s says %+v, %v, and the catalog has %v", n.Name, answer, err, service.Addr())
				}
			}
			t.Logf("%+v", c.Nodes)
			t.Logf("up %v: catalog %v, rendered %v, published %v, last answer %v", up, c.Catalog, c.Rendered, c.Published, c.Last())
		}
	}
	judge(t, s)
}
