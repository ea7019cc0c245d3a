package hosts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"kvexpress/lab/order"
	"kvexpress/lab/proc"
)

func waitEach(ctx context.Context, nodes []*Node, what string, try func(*Node) error) error {
	return proc.Each(nodes, func(n *Node) error {
		return proc.Poll(ctx, n.Name+" "+what, func() error { return try(n) })
	})
}

// Published waits for a version that agrees with the catalog on these services.
func (f *Fleet) Published(ctx context.Context, services ...*Service) (found Published, err error) {
	return found, proc.Poll(ctx, "a version with the changes", func() error {
		found = f.Last()
		if found.Number == 0 {
			return errors.New("nothing was published")
		}
		return In(found.Hosts, services...)
	})
}

// Answers waits until the answers of these nodes agree with the catalog on these services.
func (f *Fleet) Answer(ctx context.Context, nodes []*Node, services ...*Service) error {
	return waitEach(ctx, nodes, "to answer what the catalog has", func(n *Node) error {
		for _, s := range services {
			addr, err := n.Ask(s)
			if err != nil {
				return err
			}
			if want := s.Addr(); addr != want {
				return fmt.Errorf("%s is %v, and the catalog has %v", s.Name, addr, want)
			}
		}
		return nil
	})
}

// Settled waits until a published version and the answers of all nodes agree with the catalog
// on these services, and the recorder has seen that version.
func (f *Fleet) Settled(ctx context.Context, services ...*Service) error {
	if _, err := f.Published(ctx, services...); err != nil {
		return err
	}
	return f.Answer(ctx, f.Nodes, services...)
}

// Change is a change of the catalog, and the times at which each stage had it. Times begin just
// before the request.
type Change struct {
	Service *Service
	Up      bool // it was registered, else it was taken out
	Began   time.Time
	// Rendered is when a server had consul-template's file, and Published what the
	// manifest says.
	Rendered, Published time.Duration
	Nodes               []Arrival // in the order of the fleet
}

// Arrival is a change at a node.
type Arrival struct {
	Node   *Node
	Mode   Mode          // at that time
	File   time.Duration // its file was in place
	Answer time.Duration // its dnsmasq gave the new answer
}

// Last is the node that gave the new answer last.
func (c Change) Last() Arrival {
	return slices.MaxFunc(c.Nodes, func(a, b Arrival) int { return cmp.Compare(a.Answer, b.Answer) })
}

// Make registers a service, or takes it out, and waits until all nodes answer so.
func (f *Fleet) Make(ctx context.Context, service *Service, up bool) (Change, error) {
	c := Change{Service: service, Up: up}
	name := FQDN(service.Name)
	f.Focus(service)
	defer f.Focus(nil)
	c.Began = time.Now()
	if err := service.Set(ctx, up); err != nil {
		return c, err
	}
	addr := service.Addr()
	c.Nodes = make([]Arrival, len(f.Nodes))
	if err := waitEach(ctx, f.Nodes, fmt.Sprintf("to answer %v for %s", addr, name), func(n *Node) error {
		answer, ok := f.Said(n, c.Began, func(a order.Answer) bool { return a.Name == name && a.Addr == addr })
		if !ok {
			return errors.New("it does not yet")
		}
		at, err := proc.Changed(n.Hosts)
		c.Nodes[n.number] = Arrival{n, n.Mode, at.Sub(c.Began), answer.Answered.Sub(c.Began)}
		return err
	}); err != nil {
		return c, err
	}
	v, err := f.Published(ctx, service)
	if err != nil {
		return c, err
	}
	c.Published = v.Published.Sub(c.Began)
	for _, s := range f.Servers { // one is enough, but two may render for a while
		if RenderedBy(s, service) != nil {
			continue
		}
		at, err := proc.Changed(s.Rendered)
		if took := at.Sub(c.Began); err == nil && (c.Rendered == 0 || took < c.Rendered) {
			c.Rendered = took
		}
	}
	return c, nil
}

// RenderedBy returns an error unless a server's file agrees with the catalog on a service.
func RenderedBy(s *Server, service *Service) error {
	content, err := os.ReadFile(s.Rendered)
	if err != nil {
		return err
	}
	hosts, err := order.Parse(content)
	return errors.Join(err, In(hosts, service))
}
