package local

import "sync"

// Topic is what one can wait for a change of.
type Topic struct {
	kind byte
	path string
}

const (
	ofKey byte = iota
	ofPrefix
	ofSessions
)

// KeyTopic changes when the row at path is written, made or deleted.
func KeyTopic(path string) Topic { return Topic{ofKey, path} }

// PrefixTopic changes when a row whose path begins with prefix does.
func PrefixTopic(prefix string) Topic { return Topic{ofPrefix, prefix} }

// SessionsTopic changes when a session is made or ended.
func SessionsTopic() Topic { return Topic{kind: ofSessions} }

// Notify calls wake once, soon after the next change of the topic, when View shows it. Who registers
// first and looks at View after misses nothing. wake must return at once, and may not call
// the engine. cancel makes sure that it is not called any more, unless it is being called.
func (e *Engine) Notify(t Topic, wake func()) (cancel func()) {
	w := &waiter{topic: t, wake: wake}
	e.hub.add(w)
	return func() { e.hub.remove(w) }
}

// hub knows who waits for what.
type hub struct {
	mu      sync.Mutex
	waiting map[Topic][]*waiter
	lengths map[int]int // of the prefixes that somebody waits for: how many of them
}

type waiter struct {
	topic Topic
	place int // in the list of its topic; -1 when it is not in it
	wake  func()
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
		if t.kind != ofKey {
			continue
		}
		for length := range h.lengths {
			if length <= len(t.path) {
				take(PrefixTopic(t.path[:length]))
			}
		}
	}
	h.mu.Unlock()
	for _, w := range woken {
		w.wake()
	}
}

// count is how many wait for a topic.
func (h *hub) count(t Topic) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting[t])
}
