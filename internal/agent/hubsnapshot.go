package agent

import (
	"maps"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wire"
)

// rows are the rows of a snapshot. A row that the hub did not send is absent if the agent asked for it; else it is not in
// the rows.
func (h *hubSource) rows(m *wire.Snapshot, files []string) kv.Snapshot {
	k := kv.Key(m.Key)
	rows := kv.Snapshot{}
	for _, path := range []string{h.layout.Checksum(k), h.layout.Manifest(k), h.layout.Stop(k), h.layout.Rollout(k)} {
		rows[path] = kv.Entry{State: kv.Absent}
	}
	for _, file := range files {
		rows[h.layout.Lock(file, h.host)] = kv.Entry{State: kv.Absent}
	}
	set := func(path string, r wire.Row) {
		if _, asked := rows[path]; asked || path == h.layout.Data(k) {
			rows[path] = kv.Entry{State: kv.Present, Value: r.Value, Flags: r.Flags, Index: r.Index}
		}
	}
	for _, r := range m.Rows {
		if r.Name == wire.RolloutRow {
			set(h.layout.Rollout(k), r)
		} else {
			set(h.layout.Dir(k)+r.Name, r)
		}
	}
	for _, r := range m.Locks {
		set(h.layout.Lock(r.Name, h.host), r)
	}
	return rows
}

// failed is the error for a reason of a hub.
func (h *hubSource) failed(key, hub string, reason wire.Reason, says string) error {
	kind := kv.ErrUnreachable
	if reason == wire.Denied || reason == wire.Token {
		kind = kv.ErrDenied
	}
	return &kv.StoreError{Op: "read " + key, Addr: "the hub " + hub, Kind: kind, Says: oneLine(safetext.Redact(says))}
}

// received takes a snapshot from a session. A pushed one wakes the targets of the key. mu is held.
func (h *hubSource) received(s *session, m *wire.Snapshot, now time.Time) (kv.Snapshot, error) {
	k := kv.Key(m.Key)
	held, current := h.keys[k], h.session == s
	if m.Reason != "" {
		err := h.failed(m.Key, s.addr, m.Reason, m.Says)
		if m.ID == 0 && held != nil && current {
			held.push(Snapshot{Err: err, At: now})
		}
		return nil, err
	}
	rows := h.rows(m, s.files[k])
	if held == nil || !current { // the target has ended, or the agent has moved
		return rows, nil
	}
	if m.ID == 0 {
		held.push(Snapshot{Rows: rows, At: now})
	}
	if held.from != s || m.Read >= held.clock { // else an answer was faster
		held.rows, held.at, held.from, held.clock = h.withoutData(rows, k), s.clocks.at(m.Read, now), s, m.Read
		if held.offer.set(rows[h.layout.Rollout(k)], string(rows[h.layout.Checksum(k)].Value)) {
			h.stir()
		}
	}
	return rows, nil
}

// withoutData is a snapshot to keep.
func (h *hubSource) withoutData(rows kv.Snapshot, k kv.Key) kv.Snapshot {
	kept := maps.Clone(rows)
	delete(kept, h.layout.Data(k))
	return kept
}

func (k *hubKey) push(s Snapshot) {
	for _, u := range k.subs {
		u.push(s)
	}
}
