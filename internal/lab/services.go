//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
)

// Service is one in the catalog, with one instance on one node.
type Service struct {
	Name string
	Node *Node

	lab    *Lab
	number int

	mu         sync.Mutex
	generation int
	up         bool
}

// Addr is the address that it has while it is registered, and the zero one while it is
// not. No service ever has an address twice: so an answer tells when it was right.
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

// Register puts the service into the catalog, with an address that is new.
func (s *Service) Register(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	service := map[string]any{"ID": s.Name, "Name": s.Name, "Address": s.addr().String(), "Port": 80, "Tags": []string{tag}}
	if err := s.put(ctx, "/v1/agent/service/register", service); err != nil {
		return fmt.Errorf("register %s: %w", s.Name, err)
	}
	s.up = true
	return nil
}

// Deregister takes it out.
func (s *Service) Deregister(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.put(ctx, "/v1/agent/service/deregister/"+s.Name, nil); err != nil {
		return fmt.Errorf("deregister %s: %w", s.Name, err)
	}
	s.up = false
	return nil
}

func (s *Service) put(ctx context.Context, path string, in any) error {
	return s.lab.api.do(ctx, http.MethodPut, "http://"+s.Node.Addr+path, s.lab.secrets.roles[Registrar], in, nil)
}
