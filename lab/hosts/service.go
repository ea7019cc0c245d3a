package hosts

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"

	"kvexpress/lab/proc"
)

// Service is one in the catalog, with one instance on one node.
type Service struct {
	Name string
	Node *Node

	fleet  *Fleet
	number int

	mu         sync.Mutex
	generation int
	up         bool
}

// Addr is the address that it has while it is registered, and the zero one while it is
// not. No service has an address twice: so an answer shows to which version it belongs.
func (s *Service) Addr() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up {
		return netip.Addr{}
	}
	return s.addr()
}

func (s *Service) addr() netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(s.generation >> 8), byte(s.generation), byte(s.number)})
}

// Set registers the service with a new address, or takes it out of the catalog. It tries
// again as long as Consul's agent waits for a leader.
func (s *Service) Set(ctx context.Context, up bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, in := "deregister/"+s.Name, map[string]any(nil)
	if up {
		s.generation++
		path = "register"
		in = map[string]any{"ID": s.Name, "Name": s.Name, "Address": s.addr().String(), "Port": 80, "Tags": []string{tag}}
	}
	err := proc.Poll(ctx, "a change of "+s.Name, func() error {
		return s.fleet.call(ctx, s.Node.Addr, s.fleet.tokens[Registrar], http.MethodPut, "/v1/agent/service/"+path, in, nil)
	})
	if err == nil {
		s.up = up
	}
	return err
}

// In returns an error unless hosts agrees with the catalog on these services.
func In(hosts map[string]netip.Addr, services ...*Service) error {
	for _, s := range services {
		if got, want := hosts[FQDN(s.Name)], s.Addr(); got != want {
			return fmt.Errorf("%s is %v, and the catalog has %v", s.Name, got, want)
		}
	}
	return nil
}
