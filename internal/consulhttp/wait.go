package consulhttp

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

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
	err   error  // for fail; the rest is empty then
	index uint64 // X-Consul-Index
	found bool   // false: that nothing is there, which a higher index does not make news
	write func(http.ResponseWriter, *http.Request)
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

// resolve returns the answer to a query when there is one that the client has not seen, when its
// wait is over or the server ends. When the client is gone first, it returns false.
func (h *Handler) resolve(ctx context.Context, q query) (answer, bool) {
	p := &pending{query: q}
	if a, ready := p.look(h.engine.View()); ready {
		return a, true
	}
	over := time.NewTimer(waitFor(q.wait))
	defer over.Stop()
	for {
		changed := make(chan struct{})
		cancel := h.engine.Notify(q.topic, func() { close(changed) })
		if a, ready := p.look(h.engine.View()); ready { // a change since the last look would not be told
			cancel()
			return a, true
		}
		select {
		case <-changed:
			continue
		case <-over.C:
		case <-h.o.Done:
		case <-ctx.Done():
			cancel()
			return answer{}, false
		}
		cancel()
		return q.ask(h.engine.View()), true
	}
}

// serveQuery answers a request that is a query.
func (h *Handler) serveQuery(w http.ResponseWriter, r *request, q query) error {
	a, ok := h.resolve(r.Context(), q)
	if !ok {
		return nil // nobody is there
	}
	if a.err != nil {
		return a.err
	}
	a.write(w, r.Request)
	return nil
}
