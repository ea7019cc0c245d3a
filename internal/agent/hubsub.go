package agent

import (
	"context"
	"maps"
	"slices"

	"kvexpress/internal/kv"
)

// hubSub is the subscription of a target to its key at hubs. While the targets follow the store, it is one to the store.
type hubSub struct {
	source *hubSource
	key    kv.Key
	data   string        // path
	newest chan Snapshot // holds one
	moved  chan<- struct{}
	store  subscription // nil while a hub pushes
}

// follow implements source.
func (h *hubSource) follow(k kv.Key, l kv.Layout, moved chan<- struct{}) subscription {
	u := &hubSub{source: h, key: k, data: l.Data(k), newest: make(chan Snapshot, 1), moved: moved}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[k] == nil {
		h.keys[k] = &hubKey{}
	}
	h.keys[k].subs = append(h.keys[k].subs, u)
	return u
}

// push replaces the snapshot that waits for the target. Data that only the old one has is kept: the hub sends data once.
// The source's mu is held.
func (u *hubSub) push(s Snapshot) {
	select {
	case old := <-u.newest:
		data, had := old.Rows[u.data]
		if _, has := s.Rows[u.data]; had && !has && s.Err == nil {
			s.Rows = maps.Clone(s.Rows)
			s.Rows[u.data] = data
		}
	default:
	}
	u.newest <- s
}

func (u *hubSub) updates() <-chan Snapshot {
	if u.store != nil {
		return u.store.updates()
	}
	return u.newest
}

// next implements subscription. It follows the source from the hub to the store, and back.
func (u *hubSub) next(ctx context.Context, last *Snapshot, has position) {
	u.source.mu.Lock()
	onStore := u.source.onStore
	u.source.mu.Unlock()
	switch {
	case onStore && u.store == nil:
		u.store = u.source.direct.follow(u.key, u.source.layout, u.moved)
		u.store.next(ctx, nil, has)
	case onStore:
		u.store.next(ctx, last, has)
	case u.store != nil:
		if last != nil { // a question must be under way when it is closed
			ended, cancel := context.WithCancel(ctx)
			cancel()
			u.store.next(ended, last, has)
		}
		u.store.close()
		u.store = nil
	}
}

func (u *hubSub) close() {
	if u.store != nil {
		u.store.close()
	}
	h := u.source
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.keys[u.key]
	if k.subs = slices.DeleteFunc(k.subs, func(o *hubSub) bool { return o == u }); len(k.subs) == 0 {
		delete(h.keys, u.key)
	}
}
