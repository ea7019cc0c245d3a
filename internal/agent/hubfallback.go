package agent

import (
	"context"
	"errors"
	"time"
)

// adopt makes a session the source, in place of the last one.
func (h *hubSource) adopt(ctx context.Context, s *session) {
	s.since = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.session
	s.start(ctx)
	h.session, h.err = s, nil
	h.giveUp.Stop()
	h.follows(false)
	if old != nil {
		old.end(errOver)
		_ = old.conn.Close() // its listener ends
	}
	h.stir()
	h.log.Info("connected to a hub", "hub", s.addr)
}

// lost notes the end of a session.
func (h *hubSource) lost(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.contact = later(h.contact, s.confirmed)
	if h.session != s {
		return // the agent has moved
	}
	h.session, h.err = nil, s.cause()
	h.broadcast()
	h.giveUp.Reset(h.between(leastPatience, mostPatience))
	if !errors.Is(h.err, context.Canceled) { // else the agent ends
		h.log.Warn("lost the hub; looking for another", "hub", s.addr, "error", oneLine(h.err.Error()))
	}
}

// wanting begins the time after which targets follow the store if no hub is connected.
func (h *hubSource) wanting(ctx context.Context, patience time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.giveUp = time.AfterFunc(patience, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.session != nil || h.away || ctx.Err() != nil {
			return
		}
		if h.config.Direct {
			h.log.Warn("no hub can be reached; asking the store itself", "store", h.direct.Addr(), "error", oneLine(h.err.Error()))
		} else {
			h.log.Warn("no hub can be reached; files stay as they are", "error", oneLine(h.err.Error()))
		}
		h.follows(true)
	})
}

// follows notes whether no hub has been connected for long, and so what targets follow; mu is held.
func (h *hubSource) follows(away bool) {
	moved := h.config.Direct && h.onStore != away
	h.away, h.onStore = away, h.config.Direct && away
	h.broadcast()
	h.tell()
	for _, k := range h.keys {
		for _, u := range k.subs {
			if moved {
				select {
				case u.moved <- struct{}{}:
				default: // it has not asked since
				}
			} else if away {
				u.push(Snapshot{Err: h.noHub(), At: time.Now()})
			}
		}
	}
}

// broadcast wakes all that wait for a hub; mu is held.
func (h *hubSource) broadcast() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
