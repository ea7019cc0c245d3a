//go:build linux

package lab_test

import (
	"testing"

	"kvexpress/internal/lab"
)

// nodesLocked locks the file on one node with a watch and one with an agent: they keep
// their answers, and all others go on.
func nodesLocked(t *testing.T, s *lab.Scene) {
	locked := map[lab.Mode]*lab.Node{}
	var others []*lab.Node
	for _, n := range s.Nodes {
		if locked[n.Mode] == nil {
			locked[n.Mode] = n
		} else {
			others = append(others, n)
		}
	}
	before := last(s)
	for _, n := range locked {
		operate(t, s, "lock", "-f", n.Hosts, "--node", n.Name, "-r", "a test")
	}
	service := s.Services[11]
	for _, up := range []bool{true, false, true} {
		changeOne(t, s, service, up)
		for _, n := range others {
			answers(t, n, service)
		}
	}
	for _, n := range locked {
		if _, ok := s.Sampler.First(n, last(s).Published, lab.FQDN(service.Name), service.Addr()); ok {
			t.Errorf("%s is locked, and has version %d", n.Name, last(s).Number)
		}
		if answer, err := n.Ask(t.Context(), service.Name); err != nil || answer.Addrs[0] != before.Hosts[lab.FQDN(service.Name)] {
			t.Errorf("%s is locked, and says %+v, %v", n.Name, answer, err)
		}
		operate(t, s, "unlock", "-f", n.Hosts, "--node", n.Name)
	}
	answers(t, locked[lab.Agent], service)
	// A watch waits for the next version, or for somebody; unless Consul has lost its
	// leader: then it asks anew.
	n := locked[lab.Watch]
	answer, err := n.Ask(t.Context(), service.Name)
	t.Logf("%s says %+v, %v, before anybody ran kvexpress out", n.Name, answer, err)
	if err := n.RunOut(t.Context()); err != nil {
		t.Error(err)
	}
	answers(t, n, service)
}
