//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"kvexpress/internal/lab/order"
)

// Scene is a lab that is looked at.
type Scene struct {
	*Lab
	Recorder *Recorder
	Sights   *Sights
	Sampler  *Sampler

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Watch begins to look at a lab, before it is started, so that nothing is missed. Close
// ends it.
func (l *Lab) Watch(ctx context.Context) (*Scene, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &Scene{Lab: l, cancel: cancel}
	var err error
	if s.Recorder, err = l.Record(ctx, &s.wg); err == nil {
		s.Sights, err = l.LookOn(ctx, &s.wg)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Ask begins to ask the nodes, which must run.
func (s *Scene) Ask(ctx context.Context) { s.ask(ctx, nil) }

// AskLess does so with few questions but to a node whose file has just changed: for
// figures, which the questions to a whole fleet on one machine would distort.
func (s *Scene) AskLess(ctx context.Context) { s.ask(ctx, s.Sights) }

func (s *Scene) ask(ctx context.Context, when *Sights) {
	ctx, cancel := context.WithCancel(ctx)
	looking := s.cancel
	s.cancel = func() { cancel(); looking() }
	s.Sampler = s.sample(ctx, &s.wg, when)
}

// Close ends the looks, and waits for them. The lab goes on.
func (s *Scene) Close() {
	s.cancel()
	s.wg.Wait()
}

// Settled waits until each node answers for each service what the catalog has.
func (s *Scene) Settled(ctx context.Context) error {
	return each(s.Nodes, func(n *Node) error {
		for _, service := range s.Services {
			err := poll(ctx, n.Name+" to know "+service.Name, func() error {
				answer, err := n.Ask(ctx, service.Name)
				if err != nil {
					return err
				}
				var got netip.Addr
				if answer.Exists {
					got = answer.Addrs[0]
				}
				if want := service.Addr(); got != want {
					return fmt.Errorf("it says %v, the catalog has %v", got, want)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Change is a change of the catalog, and when it was seen where. The times are from
// just before the request that made it.
type Change struct {
	Service string `json:"service"`
	// Up: the service was registered, else it was taken out.
	Up    bool       `json:"up"`
	Addr  netip.Addr `json:"-"`
	Began time.Time  `json:"began"`
	// Catalog is when the leader of Consul's servers had it.
	Catalog time.Duration `json:"catalog_ns"`
	// Rendered is when consul-template's file was in place, and Published when kvexpress
	// in, which it started, had put it into the store and the lab had seen it there. 0:
	// nodes render for themselves.
	Rendered  time.Duration `json:"rendered_ns,omitempty"`
	Published time.Duration `json:"published_ns,omitempty"`
	Version   uint64        `json:"version,omitempty"`
	Nodes     []Arrival     `json:"nodes"`
}

// Arrival is a change at a node.
type Arrival struct {
	Node   string        `json:"node"`
	Mode   Mode          `json:"mode"`
	File   time.Duration `json:"file_ns"`   // its file was in place
	Answer time.Duration `json:"answer_ns"` // its dnsmasq gave the new answer
}

// Last is when the last node gave the new answer.
func (c Change) Last() time.Duration {
	var last time.Duration
	for _, n := range c.Nodes {
		last = max(last, n.Answer)
	}
	return last
}

// LastFile is when the last node had its file in place.
func (c Change) LastFile() time.Duration {
	var last time.Duration
	for _, n := range c.Nodes {
		last = max(last, n.File)
	}
	return last
}

// Share is what kvexpress takes of it: from the rendered file to the last answer.
func (c Change) Share() time.Duration { return c.Last() - c.Rendered }

// Make registers a service, or takes it out, and waits until all nodes answer so.
func (s *Scene) Make(ctx context.Context, service *Service, up bool) (Change, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what waits for the catalog, if the change failed
	c := Change{Service: service.Name, Up: up}
	name := FQDN(service.Name)
	s.Sampler.Focus(name)
	defer s.Sampler.Focus("")
	catalog, err := s.catalog(ctx, service)
	if err != nil {
		return c, err
	}
	before := s.Recorder.last()
	c.Began = time.Now()
	if err := poll(ctx, "a change of "+service.Name, func() error {
		if up {
			return service.Register(ctx)
		}
		return service.Deregister(ctx)
	}); err != nil {
		return c, err
	}
	c.Addr = service.Addr()
	right := func(hosts map[string]netip.Addr) bool { return hosts != nil && hosts[name] == c.Addr }
	known, err := catalog()
	if err != nil {
		return c, err
	}
	c.Catalog = known.Sub(c.Began)
	sum := ""
	if s.central() {
		version, err := s.Recorder.Wait(ctx, before, func(p Published) bool { return right(p.Hosts) })
		if err != nil {
			return c, fmt.Errorf("%s in what is published: %w", service.Name, err)
		}
		c.Version, c.Published, sum = version.Number, version.Seen.Sub(c.Began), version.SHA256
	}
	for _, n := range s.Nodes {
		a, err := s.arrival(ctx, n, c, name, func(x Sight) bool { return right(x.Hosts) && (sum == "" || x.SHA256 == sum) })
		if err != nil {
			return c, err
		}
		c.Nodes = append(c.Nodes, a)
	}
	if s.central() {
		// Not before: the sights of nodes come after it, the version from elsewhere.
		at, ok := s.rendered(c.Began, right)
		if !ok {
			return c, errors.Join(fmt.Errorf("%s was published, and no server was seen to render it", service.Name), s.Sights.Err())
		}
		c.Rendered = at.Sub(c.Began)
	}
	return c, s.Sights.Err()
}

// rendered is when the first server had what is right in its file.
func (s *Scene) rendered(after time.Time, right func(map[string]netip.Addr) bool) (first time.Time, ok bool) {
	for _, server := range s.Servers {
		sight, seen := s.Sights.First(server.Rendered, after, func(x Sight) bool { return right(x.Hosts) })
		if seen && (!ok || sight.At.Before(first)) {
			first, ok = sight.At, true
		}
	}
	return first, ok
}

// central tells whether one renders for all.
func (s *Scene) central() bool { return s.Nodes[0].Mode != Template }

func (s *Scene) arrival(ctx context.Context, n *Node, c Change, name string, right func(Sight) bool) (Arrival, error) {
	a := Arrival{Node: n.Name, Mode: n.Mode}
	err := poll(ctx, fmt.Sprintf("%s to answer %v for %s", n.Name, c.Addr, name), func() error {
		answer, ok := s.Sampler.First(n, c.Began, name, c.Addr)
		if !ok {
			_, _, err := s.Sampler.Answers(n)
			return errors.Join(errors.New("it does not yet"), err)
		}
		a.Answer = answer.Answered.Sub(c.Began)
		sight, ok := s.Sights.First(n.Hosts, c.Began, right)
		if !ok {
			return errors.New("its file has not been seen")
		}
		a.File = sight.At.Sub(c.Began)
		return nil
	})
	return a, err
}

// catalog waits, from now on, for the leader to know a change of a service: other servers
// are told later that it is certain. What it returns gives the time. There may be no
// leader now and then.
func (s *Scene) catalog(ctx context.Context, service *Service) (func() (time.Time, error), error) {
	var url string
	var index uint64
	if err := poll(ctx, "what Consul knows of "+service.Name, func() error {
		leader, err := s.leaderNow(ctx)
		if err != nil {
			return err
		}
		url = "http://" + leader.Addr + "/v1/health/service/" + service.Name + "?wait=10s&index="
		index, err = s.index(ctx, url+"0")
		return err
	}); err != nil {
		return nil, err
	}
	type seen struct {
		at  time.Time
		err error
	}
	done := make(chan seen, 1)
	s.wg.Go(func() {
		err := poll(ctx, "Consul's servers to hear of a change of "+service.Name, func() error {
			next, err := s.index(ctx, fmt.Sprint(url, index))
			if err == nil && next == index {
				err = errors.New("they did not")
			}
			return err
		})
		done <- seen{time.Now(), err}
	})
	return func() (time.Time, error) { r := <-done; return r.at, r.err }, nil
}

// index asks for a thing and returns the index of the answer.
func (s *Scene) index(ctx context.Context, url string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("X-Consul-Token", s.secrets.roles[Observer])
	resp, err := s.api.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var index uint64
	if _, err := fmt.Sscan(resp.Header.Get("X-Consul-Index"), &index); err != nil || resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return index, nil
}

// Judge holds all answers of all nodes against what was published.
func (s *Scene) Judge() []order.Verdict {
	versions := Orders(s.Recorder.Versions())
	var all []order.Verdict
	for _, n := range s.Nodes {
		list, _, _ := s.Sampler.Answers(n)
		all = append(all, order.Check(n.Name, versions, s.Sampler.Names(), list))
	}
	return all
}
