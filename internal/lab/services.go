//go:build linux

package lab

import (
	"context"
	"errors"
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

// known is an error unless the servers have the service, on a node that is well.
func (s *Service) known(ctx context.Context) error {
	var instances []struct{}
	url := "http://" + s.lab.up().Addr + "/v1/health/service/" + s.Name + "?passing"
	if err := s.lab.api.do(ctx, http.MethodGet, url, s.lab.secrets.roles[Observer], nil, &instances); err != nil {
		return err
	}
	if len(instances) == 0 {
		return errors.New("it has no instance that passes")
	}
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
