package record

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// entriesPerRead is how many entries are read at once, beside the live rows. More
// than a publisher keeps, and few enough for the answer: each entry has up to
// 400 KiB, and a store's answer a limit of its own.
const entriesPerRead = 14

// snapshot has the rows of a key, read at once except for entries beyond the
// first entriesPerRead.
type snapshot struct {
	layout  kv.Layout
	live    Live
	stopped *gate.Stopped
	rows    kv.Snapshot
}

// paths are the rows of these entries.
func (s *snapshot) paths(k kv.Key, numbers []uint64) (paths []string) {
	for _, n := range numbers {
		paths = append(paths, s.layout.HistoryManifest(k, n), s.layout.HistoryData(k, n), s.layout.HistoryPending(k, n),
			s.layout.HistoryWithdrawn(k, n))
	}
	return paths
}

// last is the number in the live manifest, 0 if none can be read.
func (s *snapshot) last() uint64 {
	if s.live.Manifest == nil {
		return 0
	}
	return s.live.Manifest.Version
}

// list judges the rows of these entries, the newest first.
func (s *snapshot) list(numbers []uint64) VersionList {
	l := VersionList{Key: s.live.Key, State: s.live.State, Last: s.last(), SHA256: s.live.SHA256, Stopped: s.stopped,
		Lineage: s.lineage(numbers)}
	if l.SHA256 == "" && s.live.Manifest != nil {
		l.SHA256 = s.live.Manifest.SHA256
	}
	switch live, ok := s.current(); {
	case ok && live.Number > 0:
		numbers = descending(append(slices.Clone(numbers), live.Number))
	case ok:
		l.Versions = append(l.Versions, live.Version)
	}
	for _, n := range numbers {
		if c, kept := s.version(n, l.Lineage); kept {
			l.Versions = append(l.Versions, c.Version)
		}
	}
	return l
}

// lineage is the lineage of the live version; without a manifest, of the newest entry: the
// next publish continues it.
func (s *snapshot) lineage(numbers []uint64) string {
	if s.live.Manifest != nil {
		return s.live.Manifest.Lineage
	}
	for _, n := range numbers {
		if c, kept := s.past(n); kept && c.Manifest != nil {
			return c.Manifest.Lineage
		}
	}
	return ""
}

// current is the live version, from its live rows. false: there is none.
func (s *snapshot) current() (Content, bool) {
	v := s.live
	c := Content{Plain: v.Plain}
	c.Version = Version{Live: true, State: v.State, Why: v.Why, SHA256: v.SHA256, Size: int64(len(v.Plain))}
	if v.SHA256 != "" {
		c.Lines = Lines(v.Plain)
	}
	switch {
	case v.State == Absent:
		return Content{}, false
	case v.State == Unmanaged:
		c.Why = "it has no manifest: kvexpress 1.x wrote it, or the manifest was removed"
		if s.last() > 0 {
			c.Why = fmt.Sprintf("kvexpress 1.x wrote it, after version %d", s.last())
		}
		c.Encoding, _ = FromFlags(s.rows[s.layout.Data(v.Key)].Flags) // Verify has read it
	case v.Manifest != nil:
		c.describe(*v.Manifest, v.Own() != nil)
	}
	return c, true
}

// describe copies what a manifest says; of whole bytes it is known already.
func (c *Content) describe(m kv.Manifest, verified bool) {
	c.Number, c.Manifest, c.Encoding = m.Version, &m, Encoding(m.Encoding)
	if !verified {
		c.SHA256, c.Size, c.Lines = m.SHA256, m.Size, m.Lines
	}
}

// version is one numbered version: the live one from its live rows, or from
// history if those are damaged; a past one from history. false: the store does not have
// it, or no longer.
func (s *snapshot) version(n uint64, lineage string) (Content, bool) {
	past, kept := s.past(n)
	if kept && past.Manifest != nil && lineage != "" && past.Manifest.Lineage != lineage {
		past = Content{Version: past.Version}
		past.State, past.Why = OtherLineage, "it is of another lineage: the key was made anew"
	}
	live, ok := s.current()
	if !ok || live.Number != n {
		return past, kept
	}
	_, asked := s.rows[s.layout.HistoryManifest(s.live.Key, n)]
	usable := kept && past.State == Managed && past.SHA256 == live.Manifest.SHA256
	switch {
	case live.State == Damaged && usable:
		past.Live, past.Why = true, fmt.Sprintf("the live rows are damaged: %s; its history is whole", live.Why)
		return past, true
	case live.State == Managed && !asked: // it came after the list: its history was not read
	case live.State == Managed && !kept:
		live.Why = "its history is missing; the live rows are whole"
	case live.State == Managed && !usable:
		live.Why = fmt.Sprintf("its history is damaged: %s; the live rows are whole", cmp.Or(past.Why, "it has other bytes"))
	}
	return live, true
}

// past is one entry of history. false: nothing of it is there, or it was neither live nor a candidate,
// because its publish was cut off.
func (s *snapshot) past(n uint64) (Content, bool) {
	k, l := s.live.Key, s.layout
	row, data := s.rows[l.HistoryManifest(k, n)], s.rows[l.HistoryData(k, n)]
	withdrawn := rollout.ParseWithdrawn(s.rows[l.HistoryWithdrawn(k, n)])
	never := len(s.rows[l.HistoryPending(k, n)].Value) > 0
	candidate := never && s.candidate() == n
	if never && withdrawn == nil && !candidate || row.State != kv.Present && data.State != kv.Present {
		return Content{}, false
	}
	c := Content{Version: Version{Number: n}}
	c.State, c.Why = c.verify(k, row, data)
	switch {
	case c.State != Managed || !never:
	case withdrawn != nil:
		c.State, c.Why = Withdrawn, "withdrawn: "+withdrawn.Reason
	default:
		c.State, c.Why = Candidate, "it is being rolled out"
	}
	return c, true
}

// candidate is the version of the open rollout; 0: there is none.
func (s *snapshot) candidate() uint64 {
	r, err := rollout.ParseRow(s.live.Key, s.rows[s.layout.Rollout(s.live.Key)])
	if err != nil || r == nil || r.State.Ended() {
		return 0
	}
	return r.Version
}

// verify fills in what manifest and data of an entry tell, and returns how whole it is.
func (c *Content) verify(k kv.Key, row, data kv.Entry) (State, string) {
	if row.State != kv.Present {
		return Damaged, "its manifest is missing"
	}
	m, err := ParseManifest(k, row.Value)
	switch {
	case errors.Is(err, kv.ErrManifestUnknown):
		return NeedsNewer, err.Error()
	case err != nil:
		return Damaged, err.Error()
	case m.Version != c.Number:
		return Damaged, fmt.Sprintf("its manifest is of version %d", m.Version)
	}
	c.describe(m, false)
	if data.State != kv.Present {
		return Damaged, "its data is missing"
	}
	encoding, err := FromFlags(data.Flags)
	if err != nil {
		return NeedsNewer, err.Error()
	}
	plain, err := Decode(encoding, data.Value)
	switch {
	case err != nil:
		return Damaged, fmt.Sprintf("its data cannot be read: %v", err)
	case Checksum(plain) != m.SHA256:
		return Damaged, "its data does not match its manifest"
	}
	c.Plain, c.Size, c.Lines = plain, int64(len(plain)), Lines(plain)
	return Managed, ""
}
