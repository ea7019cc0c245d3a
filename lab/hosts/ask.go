package hosts

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"kvexpress/lab/order"
)

// resolver asks one DNS server, one question at a time. It never asks again by itself.
type resolver struct {
	addr string
	conn *dns.Conn // nil after a failure: a late answer must not meet the next question
}

// ask is the address of a name; the zero one: there is no such name.
func (r *resolver) ask(name string) (addr netip.Addr, err error) {
	client := dns.Client{Timeout: time.Second}
	if r.conn == nil {
		if r.conn, err = client.Dial(r.addr); err != nil {
			r.conn = nil
			return addr, err
		}
	}
	answer, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), r.conn)
	if err != nil {
		r.close()
		return addr, err
	}
	if answer.Rcode != dns.RcodeSuccess && answer.Rcode != dns.RcodeNameError || answer.Truncated || len(answer.Answer) > 1 {
		return addr, fmt.Errorf("%s, asked for %s, says %v", r.addr, name, answer)
	}
	for _, record := range answer.Answer {
		if a, ok := record.(*dns.A); ok {
			addr, _ = netip.AddrFromSlice(a.A.To4())
		}
	}
	return addr, nil
}

func (r *resolver) close() {
	if r.conn != nil {
		_ = r.conn.Close() // nothing to lose
		r.conn = nil
	}
}

// Ask asks the node's dnsmasq for the address of a service, once.
func (n *Node) Ask(service *Service) (netip.Addr, error) {
	r := resolver{addr: n.DNS}
	defer r.close()
	return r.ask(FQDN(service.Name))
}

// askEvery is the time between two questions to a node: what an answer's time is exact to.
const askEvery = 2 * time.Millisecond

// Ask begins to ask all nodes for all names, again and again, until Stop.
func (r *Recorder) Ask() {
	for _, n := range r.fleet.Nodes {
		r.wg.Go(func() { r.ask(n) })
	}
}

func (r *Recorder) ask(n *Node) {
	dnsmasq := resolver{addr: n.DNS}
	defer dnsmasq.close()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		name := r.focus
		r.mu.Unlock()
		if name == "" || i%2 == 1 {
			name = r.names[i/2%len(r.names)]
		}
		asked := time.Now()
		addr, err := dnsmasq.ask(name)
		if err != nil {
			continue // a question without an answer is not judged
		}
		r.mu.Lock()
		r.answers[n] = append(r.answers[n], order.Answer{Name: name, Addr: addr, Asked: asked, Answered: time.Now()})
		r.mu.Unlock()
	}
}

// Focus makes every other question one about this service; nil: none.
func (r *Recorder) Focus(s *Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.focus = ""; s != nil {
		r.focus = FQDN(s.Name)
	}
}

// Answers are the answers of a node so far.
func (r *Recorder) Answers(n *Node) []order.Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.answers[n]
	return all[:len(all):len(all)]
}

// Said is the first answer of a node to a question after a moment for which ok is true.
func (r *Recorder) Said(n *Node, after time.Time, ok func(order.Answer) bool) (first order.Answer, found bool) {
	all := r.Answers(n)
	for i := len(all) - 1; i >= 0 && all[i].Asked.After(after); i-- { // the newest are at the end
		if ok(all[i]) {
			first, found = all[i], true
		}
	}
	return first, found
}

// Judge compares all answers of all nodes with the published versions.
func (r *Recorder) Judge() []order.Verdict {
	var versions []order.Version
	for _, v := range r.Versions() {
		versions = append(versions, v.Version)
	}
	var all []order.Verdict
	for _, n := range r.fleet.Nodes {
		all = append(all, order.Check(n.Name, versions, r.Answers(n)))
	}
	return all
}
