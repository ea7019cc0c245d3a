//go:build linux

package lab

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"kvexpress/internal/lab/dns"
	"kvexpress/internal/lab/order"
)

const (
	// askEvery is the time between two questions to a node: what a time is exact to.
	askEvery = 2 * time.Millisecond
	// askLess is that of a node whose file has not changed, where fewer are wanted, and
	// eager how long at most a change makes it askEvery.
	askLess = 25 * time.Millisecond
	eager   = 200 * time.Millisecond
)

// Sampler asks the dnsmasq of each node again and again, and notes all answers.
type Sampler struct {
	names []string
	nodes map[*Node]*answers

	mu    sync.Mutex
	focus string // a name that every other question is about; "": none
}

type answers struct {
	mu   sync.Mutex
	list []order.Answer
	errs int   // questions without an answer
	last error // of them
}

// Sample begins to ask, until ctx ends; then it must be waited for.
func (l *Lab) Sample(ctx context.Context, wg *sync.WaitGroup) *Sampler { return l.sample(ctx, wg, nil) }

// sample asks less until files change, if it is given the sights of them.
func (l *Lab) sample(ctx context.Context, wg *sync.WaitGroup, when *Sights) *Sampler {
	s := &Sampler{nodes: map[*Node]*answers{}}
	for _, service := range l.Services {
		s.names = append(s.names, FQDN(service.Name))
	}
	for _, n := range l.Nodes {
		a := &answers{}
		s.nodes[n] = a
		p := newPace(when, n)
		wg.Go(func() {
			defer p.stop()
			s.ask(ctx, n, a, p)
		})
	}
	return s
}

// Focus makes every other question one about this name.
func (s *Sampler) Focus(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.focus = name
}

// Names are those that are asked for.
func (s *Sampler) Names() []string { return s.names }

func (s *Sampler) ask(ctx context.Context, n *Node, to *answers, p *pace) {
	var client *dns.Client
	defer func() {
		if client != nil {
			_ = client.Close() // nothing to lose
		}
	}()
	for i := 0; ; i++ {
		if !p.wait(ctx) {
			return
		}
		s.mu.Lock()
		focus := s.focus
		s.mu.Unlock()
		name := focus
		if name == "" || i%2 == 1 && p.always() {
			name = s.names[i/2%len(s.names)]
		}
		var err error
		if client == nil {
			client, err = dns.Dial(ctx, n.DNS)
		}
		asked := time.Now()
		var answer dns.Answer
		if err == nil {
			answer, err = client.Ask(ctx, name)
		}
		if ctx.Err() != nil {
			return
		}
		to.note(name, asked, answer, err)
		if name == focus && err == nil {
			p.answered(name, answer)
		}
	}
}

func (a *answers) note(name string, asked time.Time, answer dns.Answer, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && len(answer.Addrs) > 1 {
		err = errors.New(name + " has several addresses")
	}
	if err != nil {
		a.errs++
		a.last = err
		return
	}
	var addr netip.Addr
	if answer.Exists {
		addr = answer.Addrs[0]
	}
	a.list = append(a.list, order.Answer{Name: name, Addr: addr, Asked: asked, Answered: time.Now()})
}

// Answers are those of a node so far, and how many questions had none.
func (s *Sampler) Answers(n *Node) (list []order.Answer, unanswered int, last error) {
	a := s.nodes[n]
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.list[:len(a.list):len(a.list)], a.errs, a.last
}

// First is the first answer of a node that was asked for after a moment, is about this
// name and gives this address; the zero address: that it does not exist.
func (s *Sampler) First(n *Node, after time.Time, name string, addr netip.Addr) (order.Answer, bool) {
	list, _, _ := s.Answers(n)
	// The newest are at the end, and what is looked for is among them.
	var found order.Answer
	ok := false
	for i := len(list) - 1; i >= 0 && list[i].Asked.After(after); i-- {
		if list[i].Name == name && list[i].Addr == addr {
			found, ok = list[i], true
		}
	}
	return found, ok
}
