package local

import (
	"context"
	"sync"
	"time"
)

// Topic is what one can wait for a change of.
type Topic struct {
	kind byte
	path string
}

const (
	ofKey byte = iota
	ofPrefix
)

// KeyTopic changes when the row at path is written, made or deleted.
func KeyTopic(path string) Topic { return Topic{ofKey, path} }

// PrefixTopic changes when a row whose path begins with prefix does.
func PrefixTopic(prefix string) Topic { return Topic{ofPrefix, prefix} }

// Await shows enough the newest View: now, after each change of the topic, and when the wait is over, until it says so. No
// change is missed, since it subscribes to the topic before it looks. Its error is that of ctx.
func (e *Engine) Await(ctx context.Context, t Topic, wait time.Duration, enough func(View) bool) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		w := &waiter{topic: t, changed: make(chan struct{})}
		e.hub.add(w)
		if enough(e.View()) {
			e.hub.remove(w)
			return nil
		}
		select {
		case <-w.changed:
		case <-timer.C:
			e.hub.remove(w)
			enough(e.View())
			return nil
		case <-ctx.Done():
			e.hub.remove(w)
			return ctx.Err()
		}
	}
}

// hub knows who waits for what.
type hub struct {
	mu      sync.Mutex
	waiting map[Topic][]*waiter
	lengths map[int]int // of the prefixes that somebody waits for: how many of them
}

type waiter struct {
	topic   Topic
	place   int           // in the list of its topic; -1 when it is not in it
	changed chan struct{} // closed when it has changed
}

func (h *hub) add(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting == nil {
		h.waiting, h.lengths = make(map[Topic][]*waiter), make(map[int]int)
	}
	list := h.waiting[w.topic]
	if len(list) == 0 && w.topic.kind == ofPrefix {
		h.lengths[len(w.topic.path)]++
	}
	w.place = len(list)
	h.waiting[w.topic] = append(list, w)
}

func (h *hub) remove(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.place < 0 {
		return
	}
	list := h.waiting[w.topic]
	last := len(list) - 1
	list[w.place], list[last].place = list[last], w.place
	list[last], w.place = nil, -1
	h.waiting[w.topic] = list[:last]
	if last == 0 {
		h.forget(w.topic)
	}
}

// forget drops a topic for which nobody waits any more.
func (h *hub) forget(t Topic) {
	delete(h.waiting, t)
	if t.kind != ofPrefix {
		return
	}
	if h.lengths[len(t.path)]--; h.lengths[len(t.path)] == 0 {
		delete(h.lengths, len(t.path))
	}
}

// ring wakes all who wait for one of the topics, or for a prefix of one.
func (h *hub) ring(topics []Topic) {
	var woken []*waiter
	h.mu.Lock()
	take := func(t Topic) {
		list := h.waiting[t]
		if len(list) == 0 {
			return
		}
		for _, w := range list {
			w.place = -1
		}
		woken = append(woken, list...)
		h.forget(t)
	}
	for _, t := range topics {
		take(t)
		for length := range h.lengths {
			if length <= len(t.path) {
				take(PrefixTopic(t.path[:length]))
			}
		}
	}
	h.mu.Unlock()
	for _, w := range woken {
		close(w.changed)
	}
}

// count is how many wait for a topic.
func (h *hub) count(t Topic) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting[t])
}
