package fanout

import (
	"sync"

	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/wire"
)

// encode encodes a snapshot for this agent. All agents without a lock share one message.
func (s *session) encode(u *sub, snap *feed.Snapshot, data bool, id uint64) ([]byte, error) {
	m := wire.Snapshot{Key: string(u.key), ID: id, Read: s.f.clock(snap.Began)}
	for path, file := range u.files {
		if e := snap.Locks[path]; e.State == kv.Present {
			m.Locks = append(m.Locks, wire.Row{Name: file, Value: e.Value, Flags: e.Flags, Index: e.Index})
		}
	}
	if id != 0 {
		s.f.mu.Lock()
		s.f.counts.Confirmed++
		s.f.mu.Unlock()
	}
	if id != 0 || m.Locks != nil {
		return s.f.encode(m, snap, data)
	}
	return s.f.frame(m, snap, data)
}

// encode encodes a snapshot.
func (f *Fanout) encode(m wire.Snapshot, snap *feed.Snapshot, data bool) ([]byte, error) {
	l, k := f.o.Layout, snap.Key
	for _, r := range []struct{ name, path string }{
		{"checksum", l.Checksum(k)}, {"manifest", l.Manifest(k)}, {"stop", l.Stop(k)}, {wire.RolloutRow, l.Rollout(k)},
		{wire.DataRow, l.Data(k)},
	} {
		e := snap.Rows[r.path]
		if e.State == kv.Present && (data || r.name != wire.DataRow) && (snap.Candidate != "" || r.name != wire.RolloutRow) {
			m.Rows = append(m.Rows, wire.Row{Name: r.name, Value: e.Value, Flags: e.Flags, Index: e.Index})
		}
	}
	if data && snap.HasData() {
		return wire.EncodeData(m)
	}
	return wire.Encode(wire.FromHub{Snapshot: &m})
}

// frameKey names a version of a key: the current one with "", else the candidate of a rollout.
type frameKey struct {
	key       kv.Key
	candidate string
}

// frame is a snapshot, encoded once for all agents that have no lock: without and with data.
type frame struct {
	of    *feed.Snapshot
	forms [2]struct {
		once sync.Once
		b    []byte
		err  error
	}
}

func (f *Fanout) frame(m wire.Snapshot, snap *feed.Snapshot, data bool) ([]byte, error) {
	version := frameKey{snap.Key, snap.Candidate}
	f.mu.Lock()
	r := f.frames[version]
	if r == nil || r.of != snap {
		r = &frame{of: snap}
		f.frames[version] = r
	}
	f.mu.Unlock()
	form := &r.forms[0]
	if data {
		form = &r.forms[1]
	}
	form.once.Do(func() { form.b, form.err = f.encode(m, snap, data) })
	return form.b, form.err
}
