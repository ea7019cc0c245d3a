package embedded

import (
	"context"
	"sync"
	"time"
)

// Topic is a row or a prefix to wait for.
type Topic struct {
	kind byte
	path string
}

const (
	ofKey byte = iota
	ofPrefix
)

// KeyTopic changes when the row at path is written or deleted.
func KeyTopic(path string) Topic { return Topic{ofKey, path} }

// PrefixTopic changes when a row whose path begins with prefix is written or deleted.
func PrefixTopic(prefix string) Topic { return Topic{ofPrefix, prefix} }

// Await calls enough with the newest View: now, after each change of the topic, and when the wait is over. It returns when enough
// reports true, or the wait is over, or ctx ends, with the error of ctx. It subscribes before it reads, so it misses no change.
func (e *Engine) Await(ctx context.Context, t Topic, wait time.Duration, enough func(View) bool) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		b := e.hub.subscribe(t)
		done := enough(e.View())
		if !done {
			select {
			case <-b.rung:
			case <-timer.C:
				enough(e.View())
				done = true
			case <-ctx.Done():
			}
		}
		e.hub.leave(t, b)
		if done {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// hub has a bell for each topic with waiting readers.
type hub struct {
	mu      sync.Mutex
	bells   map[Topic]*bell
	lengths map[int]int // how many prefixes of each length are in bells
}

type bell struct {
	rung    chan struct{} // closed by a change
	waiting int
}

// subscribe returns the bell of a topic. It rings at the next change.
func (h *hub) subscribe(t Topic) *bell {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.bells[t]
	if b == nil {
		if h.bells == nil {
			h.bells, h.lengths = make(map[Topic]*bell), make(map[int]int)
		}
		b = &bell{rung: make(chan struct{})}
		h.bells[t] = b
		if t.kind == ofPrefix {
			h.lengths[len(t.path)]++
		}
	}
	b.waiting++
	return b
}

// leave ends the wait for a bell, whether it has rung or not.
func (h *hub) leave(t Topic, b *bell) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b.waiting--; b.waiting == 0 && h.bells[t] == b {
		h.remove(t)
	}
}

func (h *hub) remove(t Topic) {
	delete(h.bells, t)
	if t.kind != ofPrefix {
		return
	}
	if h.lengths[len(t.path)]--; h.lengths[len(t.path)] == 0 {
		delete(h.lengths, len(t.path))
	}
}

// ring wakes the readers that wait for one of the topics, or for a prefix of one.
func (h *hub) ring(topics []Topic) {
	var rung []*bell
	h.mu.Lock()
	take := func(t Topic) {
		if b := h.bells[t]; b != nil {
			h.remove(t)
			rung = append(rung, b)
		}
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
	for _, b := range rung {
		close(b.rung)
	}
}
