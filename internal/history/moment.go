package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/wait"
)

// entriesPerRead is how many entries are read at once, beside the live rows. More
// than a publisher keeps, and few enough for the answer: each entry has up to
// 400 KiB, and a store's answer a limit of its own.
const entriesPerRead = 16

// moment is what was read of a key, all of one moment but for entries beyond the
// first entriesPerRead.
type moment struct {
	key     kv.Key
	layout  kv.Layout
	live    gate.Standing
	flags   uint64 // of the live data
	stopped *gate.Stopped
	rows    kv.Snapshot
}

// look reads the live rows and these entries. While what stands is torn, it looks
// again, as long as that may heal.
func (r Reader) look(ctx context.Context, k kv.Key, numbers []uint64) (*moment, error) {
	var m *moment
	err := wait.Again(ctx, r.Wait, gate.TornWaits(), func() (torn bool, err error) {
		m, err = r.lookOnce(ctx, k, numbers)
		return err == nil && m.live.Torn, err
	})
	return m, err
}

func (r Reader) lookOnce(ctx context.Context, k kv.Key, numbers []uint64) (*moment, error) {
	l := r.Layout
	paths := []string{l.Data(k), l.Checksum(k), l.Manifest(k), l.Stop(k)}
	own := slices.Clone(paths)
	m := &moment{key: k, layout: l, rows: kv.Snapshot{}}
	for chunk := range chunks(numbers) {
		for _, n := range chunk {
			paths = append(paths, l.HistoryManifest(k, n), l.HistoryData(k, n), l.HistoryPending(k, n))
		}
		rows, err := r.Store.Read(ctx, kv.Default, paths...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		for _, path := range paths {
			if rows[path].State == kv.Denied {
				return nil, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
			}
			m.rows[path] = rows[path]
		}
		paths = nil
	}
	m.flags = m.rows[own[0]].Flags
	if err := gate.NotStopped(k, m.rows[own[3]]); err != nil {
		_ = errors.As(err, &m.stopped)
	}
	var err error
	m.live, err = gate.Examine(k, m.rows[own[0]], m.rows[own[1]], m.rows[own[2]])
	return m, err
}

// chunks yields what is read at once: at least one chunk, which may be empty.
func chunks(numbers []uint64) func(func([]uint64) bool) {
	return func(yield func([]uint64) bool) {
		if len(numbers) == 0 {
			yield(nil)
			return
		}
		slices.Chunk(numbers, entriesPerRead)(yield)
	}
}

// last is the number in the live manifest, 0 where none can be read.
func (m *moment) last() uint64 {
	if m.live.Manifest == nil {
		return 0
	}
	return m.live.Manifest.Version
}

// standing is what stands, from its live rows. false: nothing does.
func (m *moment) standing() (Content, bool) {
	s := m.live
	c := Content{Version: Version{Live: true, State: Whole, SHA256: s.SHA256, Size: int64(len(s.Plain))}, Plain: s.Plain}
	if s.SHA256 != "" {
		c.Lines = record.Lines(s.Plain)
	}
	switch s.State {
	case gate.Absent:
		return Content{}, false
	case gate.Unmanaged:
		c.Unmanaged, c.Why = true, "it has no manifest: kvexpress 1.x wrote it, or the manifest was removed"
		if m.last() > 0 {
			c.Why = fmt.Sprintf("kvexpress 1.x wrote it, after version %d", m.last())
		}
		c.Encoding, _ = record.FromFlags(m.flags) // Examine has read it
		return c, true
	case gate.Damaged:
		c.State, c.Why = Damaged, s.Why
	}
	if s.Manifest != nil {
		c.describe(*s.Manifest, s.SHA256 == s.Manifest.SHA256)
	}
	return c, true
}

// describe takes over what a manifest says; of whole bytes it is known better.
func (c *Content) describe(manifest kv.Manifest, verified bool) {
	c.Number, c.Manifest, c.Encoding = manifest.Version, &manifest, record.Encoding(manifest.Encoding)
	if !verified {
		c.SHA256, c.Size, c.Lines = manifest.SHA256, manifest.Size, manifest.Lines
	}
}

// version is one numbered version: the live one from its live rows, or from
// history where those are damaged; a past one from history. false: it is not, or
// no longer, there.
func (m *moment) version(n uint64, lineage string) (Content, bool) {
	past, kept := m.past(n)
	if kept && past.Manifest != nil && lineage != "" && past.Manifest.Lineage != lineage {
		past = Content{Version: past.Version}
		past.State, past.Why = OtherLineage, "it is of another lineage: the key was made anew"
	}
	live, stands := m.standing()
	if !stands || live.Number != n {
		return past, kept
	}
	_, asked := m.rows[m.layout.HistoryManifest(m.key, n)]
	usable := kept && past.State == Whole && past.SHA256 == live.Manifest.SHA256
	switch {
	case live.State == Damaged && usable:
		past.Live, past.Why = true, fmt.Sprintf("what stands is damaged: %s; its history is whole", live.Why)
		return past, true
	case live.State == Whole && !asked: // it came after the list: nothing is known of its history
	case live.State == Whole && !kept:
		live.Why = "its history is gone; what stands is whole"
	case live.State == Whole && !usable:
		live.Why = fmt.Sprintf("its history is damaged: %s; what stands is whole", cmp.Or(past.Why, "it has other bytes"))
	}
	return live, true
}

// past is one entry of history. false: nothing of it is there, or it was never live: a
// publish put it there, and did not get any further.
func (m *moment) past(n uint64) (Content, bool) {
	row, data := m.rows[m.layout.HistoryManifest(m.key, n)], m.rows[m.layout.HistoryData(m.key, n)]
	never := len(m.rows[m.layout.HistoryPending(m.key, n)].Value) > 0
	if never || row.State != kv.Present && data.State != kv.Present {
		return Content{}, false
	}
	c := Content{Version: Version{Number: n, State: Damaged}}
	if row.State != kv.Present {
		c.Why = "its manifest is missing"
		return c, true
	}
	manifest, err := gate.ReadManifest(m.key, row.Value)
	switch {
	case errors.Is(err, kv.ErrManifestUnknown):
		c.State, c.Why = NeedsNewer, err.Error()
		return c, true
	case err != nil:
		c.Why = err.Error()
		return c, true
	case manifest.Version != n:
		c.Why = fmt.Sprintf("its manifest is that of version %d", manifest.Version)
		return c, true
	}
	c.describe(manifest, false)
	if data.State != kv.Present {
		c.Why = "its data is missing"
		return c, true
	}
	encoding, err := record.FromFlags(data.Flags)
	if err != nil {
		c.State, c.Why = NeedsNewer, err.Error()
		return c, true
	}
	plain, err := record.Decode(encoding, data.Value)
	switch {
	case err != nil:
		c.Why = fmt.Sprintf("its data cannot be read: %v", err)
	case record.Checksum(plain) != manifest.SHA256:
		c.Why = "its data is not what its manifest says"
	default:
		c.State, c.Plain, c.Size, c.Lines = Whole, plain, int64(len(plain)), record.Lines(plain)
	}
	return c, true
}
