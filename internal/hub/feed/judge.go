package feed

import (
	"bytes"
	"fmt"
	"maps"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// answer is the answer to one transaction.
type answer struct {
	rows     kv.Snapshot
	locks    *lockSet
	rollouts kv.Snapshot
	denied   error // why the locks are unknown
	began    time.Time
	from, to uint64 // see Snapshot
}

// verdict says whether the rows of a key make a snapshot.
type verdict int

const (
	whole    verdict = iota
	needData         // only the data tells
	torn             // kvexpress 1.x is between its two writes
	overlaps         // two reads overlapped and differ, so it is not known which is newer
)

// snapshot begins the snapshot of a key. Its Err is set if a row that everything depends on is denied.
func (a *answer) snapshot(l kv.Layout, k kv.Key) *Snapshot {
	s := &Snapshot{Key: k, Rows: kv.Snapshot{}, Locks: a.locks.rows, Began: a.began, Err: a.denied,
		data: l.Data(k), locks: a.locks, from: a.from, to: a.to}
	s.Rows[l.Rollout(k)] = a.rollout(l, k)
	for _, path := range []string{l.Checksum(k), l.Stop(k)} {
		if s.Rows[path] = a.rows[path]; s.Rows[path].State == kv.Denied && s.Err == nil {
			s.Err = deniedError(path)
		}
	}
	return s
}

// rollout is the row of the rollout of a key. The tree has no row for one that is absent, or that the hub may not read: then the
// hub knows of no rollouts.
func (a *answer) rollout(l kv.Layout, k kv.Key) kv.Entry {
	if e, ok := a.rollouts[l.Rollout(k)]; ok {
		return e
	}
	return kv.Entry{State: kv.Absent}
}

func deniedError(path string) error {
	return fmt.Errorf("the hub's token may not read %s: %w; `kvexpress acl hub` prints the policy that it needs", path, kv.ErrDenied)
}

// unchanged returns old at the moment of a scan; nil if the key must be read in full, with the data if its checksum is new.
func unchanged(l kv.Layout, old *Snapshot, a *answer) (s *Snapshot, readData bool) {
	seen := a.snapshot(l, old.Key)
	if seen.Err != nil { // there is nothing more to read
		return seen, false
	}
	sum, stop := l.Checksum(old.Key), l.Stop(old.Key)
	if !content(old.Rows[sum], seen.Rows[sum]) {
		return nil, true
	}
	// The rows of a key with an error or damage may be repaired without a change of its checksum.
	if mustReadData(old) || !equal(old.Rows[sum], seen.Rows[sum]) || !equal(old.Rows[stop], seen.Rows[stop]) {
		return nil, false
	}
	now, rollout := seen.Rows[l.Rollout(old.Key)], l.Rollout(old.Key)
	if seen.Rows, seen.Live = old.Rows, old.Live; !equal(old.Rows[rollout], now) {
		seen.Rows = maps.Clone(old.Rows)
		seen.Rows[rollout] = now
	}
	return seen, false
}

// judge makes a snapshot of the rows of a key. old may be nil. withData: the data was read.
func judge(l kv.Layout, k kv.Key, old *Snapshot, a *answer, withData bool) (*Snapshot, verdict) {
	s := a.snapshot(l, k)
	if s.Err != nil {
		return s, whole
	}
	sum, manifest := l.Checksum(k), l.Manifest(k)
	s.Rows[manifest] = a.rows[manifest]
	known := !mustReadData(old) && content(old.Rows[sum], s.Rows[sum])
	switch {
	case withData:
		s.Rows[s.data] = a.rows[s.data]
	case known && old.HasData(): // the bytes of a checksum are always the same
		s.Rows[s.data] = old.Rows[s.data]
	}
	if !withData && known && content(old.Rows[manifest], s.Rows[manifest]) {
		s.Live = old.Live
		s.Live.Index = s.Rows[sum].Index
		return s, whole
	}
	if !s.HasData() {
		return s, needData
	}
	s.Live, s.Err = record.Verify(k, s.Rows[s.data], s.Rows[sum], s.Rows[manifest])
	s.Live.Plain = nil
	if s.Live.Torn && !sameTorn(l, old, s) {
		return s, torn
	}
	return s, whole
}

// sameTorn reports whether old was handed on with these torn rows already: then they are not about to settle.
func sameTorn(l kv.Layout, old, s *Snapshot) bool {
	return old != nil && old.Live.Torn && old.HasData() &&
		equal(old.Rows[s.data], s.Rows[s.data]) && equal(old.Rows[l.Checksum(s.Key)], s.Rows[l.Checksum(s.Key)])
}

// sameRows reports whether two snapshots of a key say the same, apart from locks and rollout.
func sameRows(l kv.Layout, a, b *Snapshot) bool {
	if a.Live.State != b.Live.State || (a.Err == nil) != (b.Err == nil) || a.Err != nil && a.Err.Error() != b.Err.Error() {
		return false
	}
	for _, path := range []string{l.Checksum(a.Key), l.Manifest(a.Key), l.Stop(a.Key)} {
		if !equal(a.Rows[path], b.Rows[path]) {
			return false
		}
	}
	return true
}

// equal reports whether two rows are the same row, unchanged.
func equal(a, b kv.Entry) bool { return a.Index == b.Index && a.Flags == b.Flags && content(a, b) }

// content reports whether two rows have the same value.
func content(a, b kv.Entry) bool { return a.State == b.State && bytes.Equal(a.Value, b.Value) }
