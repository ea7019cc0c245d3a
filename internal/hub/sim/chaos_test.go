package sim

import (
	"context"
	"os"
	"time"
)

// act does one thing, and lets time pass.
func (w *world) act() {
	k, n, h := w.plan.IntN(keys), w.nodes[w.plan.IntN(len(w.nodes))], w.hubs[w.plan.IntN(hubs)]
	switch w.plan.IntN(22) {
	case 0, 1:
		w.publish(k)
	case 2:
		w.stop(k, !w.stops[k])
	case 3:
		w.lock(n, !n.locked)
	case 4, 5:
		for range 5 { // hubs read the one while the next happens
			w.stop(n.key, false)
			w.lock(n, false)
			w.soon()
			w.freeze(n)
			w.soon()
			w.publish(n.key)
			w.soon()
		}
	case 6, 7, 8:
		w.late(n, h)
	case 9:
		w.stop(k, false)
		for range 5 {
			w.publish(k)
			w.soon()
		}
	case 10, 11, 12:
		h.toggle()
	case 13:
		w.trace.log("cut %s", n.name)
		n.cut()
	case 14:
		w.toggle("connection of "+n.name+" with "+h.name, n.ways[h])
	case 15:
		w.toggle(n.name, &n.gate)
	case 16:
		w.toggle(h.name, &h.gate)
	case 17:
		s := state(w.plan.IntN(3))
		w.trace.log("the store is in state %d", s)
		for _, l := range w.links() {
			l.set(s)
		}
	case 18, 19:
		links := w.links()
		links[w.plan.IntN(len(links))].disturb(w)
	case 20:
		w.mu.Lock()
		w.lag = max(0, time.Duration(w.plan.IntN(2))*time.Duration(w.plan.Int64N(int64(mostLag))))
		w.trace.log("the leader is outdated by %s", w.lag)
		w.mu.Unlock()
	case 21:
		w.trace.log("%s drifts", n.name)
		if err := os.WriteFile(n.file, []byte("drift\n"), 0o600); err != nil {
			w.trace.log("it has no file yet")
		}
	}
	switch w.plan.IntN(4) {
	case 0:
		w.soon()
	case 1:
		w.calm()
		pass(time.Duration(w.plan.IntN(15)) * time.Second)
	default:
		pass(time.Duration(w.plan.IntN(3000)) * time.Millisecond)
	}
}

// soon lets a short time pass.
func (w *world) soon() {
	most := []time.Duration{time.Millisecond, 20 * time.Millisecond, 150 * time.Millisecond, 500 * time.Millisecond}[w.plan.IntN(4)]
	pass(time.Duration(w.plan.Int64N(int64(most))))
}

// freeze stops the key of a node, or locks its file.
func (w *world) freeze(n *node) {
	if w.plan.IntN(2) == 0 {
		w.stop(n.key, true)
	} else {
		w.lock(n, true)
	}
}

// late freezes a node just after a publish, while something keeps the news from it.
func (w *world) late(n *node, h *hub) {
	w.stop(n.key, false)
	w.lock(n, false)
	w.publish(n.key)
	w.soon()
	other := w.hubs[0]
	if other == h {
		other = w.hubs[1]
	}
	then := func() {}
	switch w.plan.IntN(5) {
	case 0: // the hub does not see it
		h.link.set(state(1 + w.plan.IntN(2)))
	case 1: // the node does not hear of it
		w.toggle(n.name, &n.gate)
	case 2, 3: // the node moves to the hub that does not know yet
		h.link.stopHearing(true)
		if then = n.cut; other.up && w.plan.IntN(2) == 0 {
			then = other.toggle
		}
	case 4:
		then = n.cut
	}
	w.soon()
	w.freeze(n)
	w.soon()
	then()
}

// links are all ways to the store. Those of hubs come twice.
func (w *world) links() (all []*link) {
	for _, h := range w.hubs {
		all = append(all, h.link, h.link)
	}
	for _, n := range w.nodes {
		all = append(all, n.link)
	}
	return all
}

// disturb changes one thing of a link.
func (l *link) disturb(w *world) {
	switch w.plan.IntN(3) {
	case 0:
		s := state(w.plan.IntN(3))
		w.trace.log("the link of %s is in state %d", l.name, s)
		l.set(s)
	case 1:
		l.stopHearing(w.plan.IntN(2) == 0)
	case 2:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.slow = l.w.speed()
		w.trace.log("the link of %s takes up to %s", l.name, l.slow)
	}
}

// stopHearing keeps the answers to waits from the client.
func (l *link) stopHearing(stop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.trace.log("the link of %s is deaf: %v", l.name, stop)
	l.deaf = stop
}

// toggle kills a hub, or starts it again. Half of them drain first.
func (h *hub) toggle() {
	if !h.up {
		h.w.trace.log("begin %s", h.name)
		h.begin()
		return
	}
	if h.w.plan.IntN(2) == 0 {
		h.w.trace.log("drain %s", h.name)
		h.fan.Drain(context.Background(), 2*time.Second)
		h.rolls.Leave(context.Background())
	}
	h.w.trace.log("kill %s", h.name)
	h.kill()
}

// gate is a memnet.Gate.
type gate interface {
	Shut()
	Open()
	Opened() <-chan struct{}
}

func (w *world) toggle(what string, g gate) {
	if g.Opened() != nil {
		w.trace.log("open the %s", what)
		g.Open()
	} else {
		w.trace.log("shut the %s", what)
		g.Shut()
	}
}

// calm mends half of what is broken.
func (w *world) calm() { w.mend(func() bool { return w.plan.IntN(2) == 0 }) }

// heal mends all, and ends stops and locks.
func (w *world) heal() {
	w.trace.log("heal")
	w.healed.Store(true)
	for _, l := range w.links() {
		l.usual = min(l.usual, 200*time.Millisecond) // agents wait a second for an answer
	}
	w.mend(func() bool { return true })
	for k := range keys {
		w.stop(k, false)
	}
	for _, n := range w.nodes {
		w.lock(n, false)
	}
	if w.staged != nil {
		w.goOn()
	}
}

func (w *world) mend(also func() bool) {
	for _, h := range w.hubs {
		if !h.up && also() {
			h.toggle()
		}
		if also() {
			h.gate.Open()
		}
	}
	for _, n := range w.nodes {
		if also() {
			n.gate.Open()
		}
		for _, h := range w.hubs {
			if also() {
				n.ways[h].Open()
			}
		}
	}
	for _, l := range w.links() {
		if also() {
			l.set(works)
			l.mu.Lock()
			l.deaf, l.slow = false, l.usual
			l.mu.Unlock()
		}
	}
	if also() {
		w.mu.Lock()
		w.lag = 0
		w.mu.Unlock()
	}
}
