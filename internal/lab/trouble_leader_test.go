//go:build linux

package lab_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// The server that leads is killed while a change is on its way, again and again.
func TestTheLeaderIsKilledWhileItIsPublished(t *testing.T) {
	t.Parallel()
	s := fleet(t, lab.Options{Servers: 3, Nodes: 4, Services: 40})
	rounds := 3
	if soak() {
		rounds = 30
	}
	for i := range rounds {
		service := s.Services[i%len(s.Services)]
		leader := killLeader(t, s, service, i%2 == 0)
		if i%3 != 1 { // else it comes back at once
			published(t, s, service)
		}
		comeBack(t, s, leader)
		v := published(t, s, service)
		for _, n := range s.Nodes {
			answers(t, n, service)
		}
		if err := s.Settled(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s was killed; version %d by %s", leader.Name, v.Number, v.By)
	}
	final(t, s)
	if err := returned(s.Recorder.Versions()); err != nil {
		t.Error(err)
	}
}

// killLeader changes the catalog, and kills the server that leads as soon as the change
// is rendered, or at any moment.
func killLeader(t *testing.T, s *lab.Scene, service *lab.Service, whenRendered bool) *lab.Server {
	t.Helper()
	leader, err := s.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	set(t, service, true)
	if whenRendered {
		right := func(x lab.Sight) bool { return stands(x.Hosts, service) == nil }
		for seen := false; !seen && time.Since(began) < 10*time.Second; pass(t.Context(), time.Millisecond) {
			for _, server := range s.Servers {
				if _, ok := s.Sights.First(server.Rendered, began, right); ok {
					seen = true
				}
			}
		}
	} else {
		pass(t.Context(), rand.N(100*time.Millisecond))
	}
	if err := leader.Consul.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	return leader
}

// comeBack starts a server that was killed.
func comeBack(t *testing.T, s *lab.Scene, server *lab.Server) {
	t.Helper()
	restart(t, server.Consul)
	if err := errors.Join(s.Ready(t.Context(), server), s.Voters(t.Context())); err != nil {
		t.Fatal(err)
	}
}
