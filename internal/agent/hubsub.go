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
	size   int          // of the data in the snapshot that waits, or that the target works off, in bytes
}

// maxBrought limits the data that hubs push and targets have not worked off, in bytes. An install asks for more when it is due.
const maxBrought = 4 << 20

// follow implements source.
func (h *hubSource) follow(k kv.Key, l kv.Layout, moved chan<- struct{}) subscription {
	u := &hubSub{source: h, key: k, data: l.Data(k), newest: make(chan Snapshot, 1), moved: moved}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys[k] == nil {
		h.keys[k] = &hubKey{offer: offering{changed: make(chan struct{})}}
	}
	h.keys[k].subs = append(h.keys[k].subs, u)
	return u
}

// push replaces the snapshot that waits for the target. Data that only the old one has is kept: the hub sends data once.
// The source's mu is held.
func (u *hubSub) push(s Snapshot) {
	data, has := s.Rows[u.data]
	select {
	case old := <-u.newest:
		if before, had := old.Rows[u.data]; had && !has && s.Err == nil {
			data, has = before, true
		}
		u.bring(0)
	default:
	}
	if s.Err == nil {
		s.Rows = maps.Clone(s.Rows)
		if delete(s.Rows, u.data); has && u.bring(len(data.Value)) {
			s.Rows[u.data] = data
		}
	}
	u.newest <- s
}

// bring notes the size of the data that the target has from here; false if that is too much for the node. The source's mu is
// held.
func (u *hubSub) bring(size int) bool {
	fits := size == 0 || u.source.brought-u.size+size <= maxBrought
	if !fits {
		size = 0
	}
	u.source.brought += size - u.size
	u.size = size
	return fits
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
	if len(u.newest) == 0 {
		u.bring(0) // the target has worked it off
	}
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
	u.bring(0)
	k := h.keys[u.key]
	if k.subs = slices.DeleteFunc(k.subs, func(o *hubSub) bool { return o == u }); len(k.subs) == 0 {
		delete(h.keys, u.key)
	}
}
