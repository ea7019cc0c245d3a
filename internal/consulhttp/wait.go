package consulhttp

import (
	"math/rand/v2"
	"net/http"
	"time"

	"kvexpress/internal/longpoll"
	"kvexpress/internal/store/local"
)

// The limits of a wait, which are Consul's.
const (
	defaultWait = 300 * time.Second
	maxWait     = 600 * time.Second
	jitterPart  = 16 // a wait is longer by up to this part, so that not all end at once
)

// query is a question whose answer can be waited for. It holds nothing of the connection it came by.
type query struct {
	topic    local.Topic
	minIndex uint64        // what the client has seen; 0: it does not wait
	wait     time.Duration // at most, before jitter
	ask      func(local.View) answer
}

// answer is what a View says to a query. To make it costs little, to write it may cost much.
type answer struct {
	err   error                                 // for fail; the rest is empty then
	index uint64                                // X-Consul-Index
	found bool                                  // false: that nothing is there, which a higher index does not make news
	write func(w http.ResponseWriter, zip bool) // zip: the client takes gzip
}

// waitFor is how long a client waits that asks for this.
func waitFor(asked time.Duration) time.Duration {
	switch {
	case asked > maxWait:
		asked = maxWait
	case asked <= 0:
		asked = defaultWait
	}
	return asked + rand.N(asked/jitterPart+1)
}

// pending is a query and what was answered to it so far.
type pending struct {
	query
	missing bool // it was answered once, that nothing is there
}

// look asks once more and reports whether the answer is worth sending: Consul's rule.
func (p *pending) look(v local.View) (answer, bool) {
	a := p.ask(v)
	if a.err != nil || p.minIndex == 0 {
		return a, true
	}
	if !a.found {
		if p.missing {
			p.minIndex = a.index // still nothing: only the index has moved
		}
		p.missing = true
	}
	return a, a.index > p.minIndex
}

// serveQuery answers a request that is a query: at once, or when there is something that the client has not seen, or
// when its wait is over.
func (h *Handler) serveQuery(w http.ResponseWriter, r *request, q query) error {
	h.o.Server.Wait(w, r.Request, h.waiting(q, acceptsGzip(r.Request)))
	return nil
}

// waiting is a query as the server waits for it. It holds nothing of the request.
func (h *Handler) waiting(q query, zip bool) longpoll.Query {
	p := &pending{query: q}
	return longpoll.Query{
		Until:     time.Now().Add(waitFor(q.wait)),
		Subscribe: func(wake func()) func() { return h.engine.Notify(q.topic, wake) },
		Answer: func(last bool) longpoll.Answer {
			a, ready := p.look(h.engine.View())
			switch {
			case !ready && !last:
				return nil
			case a.err != nil:
				return func(w http.ResponseWriter) { h.setCommon(w); fail(w, a.err) }
			default:
				return func(w http.ResponseWriter) { h.setCommon(w); a.write(w, zip) }
			}
		},
	}
}
