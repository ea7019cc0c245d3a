package rollouts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/hub/feed"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// parsed is a row as it was last parsed.
type parsed struct {
	index uint64
	row   *rollout.Row
	err   error
}

// current compares the key with the row of its rollout, but not the index of the checksum: `resume` writes the same again.
func current(l kv.Layout, row rollout.Row, snap *feed.Snapshot) rollout.Current {
	sum, manifest := snap.Rows[l.Checksum(row.Key)], snap.Rows[l.Manifest(row.Key)]
	data, known := snap.Rows[l.Data(row.Key)]
	switch v := snap.Live; {
	case v.Torn:
		return rollout.Unknown // 1.x is between its two writes
	case manifest.Index == row.Base.Manifest && v.SHA256 == row.Base.SHA256 && (sum.Index > 0) == (row.Base.Checksum > 0) &&
		(!known || data.Index == row.Base.Data):
		return rollout.IsBase
	case v.SHA256 == row.SHA256 && v.SHA256 != "":
		return rollout.IsCandidate
	case sum.State == kv.Absent && manifest.State == kv.Absent && (!known || data.State == kv.Absent):
		return rollout.IsGone
	}
	return rollout.IsOther
}

// candidate is a version that may be offered, verified.
type candidate struct {
	id   string // of its rollout; "": none
	bad  string // why it cannot be offered; "": it can
	live record.Live
	rows kv.Snapshot // in the places of the current ones

	of   *feed.Snapshot // the last snapshot that it was put into
	snap *feed.Snapshot
}

// newest is the row that counts for a snapshot: its own, or what this hub wrote if the snapshot may be from before; mu is held.
func (t *track) newest(snap *feed.Snapshot) parsed {
	if !snap.Began.After(t.wrote) {
		return t.own
	}
	if e := snap.Rows[t.r.o.Layout.Rollout(t.key)]; e.Index == 0 || e.Index != t.parsed.index {
		row, err := rollout.ParseRow(t.key, e)
		t.parsed = parsed{e.Index, row, err}
	}
	return t.parsed
}

// Offer implements fanout.Rollouts.
func (r *Rollouts) Offer(snap *feed.Snapshot, node, on string) (*feed.Snapshot, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tracks[snap.Key]
	if t == nil {
		return snap, true
	}
	row := t.newest(snap).row
	if row == nil || !row.State.Offers() || on != row.ID && (t.of != row.ID || !t.admitted[node]) {
		return snap, true
	}
	if t.cand.id != row.ID || t.cand.bad != "" {
		return nil, false
	}
	if t.cand.of != snap {
		offer, err := rollout.Offer{ID: row.ID, Base: row.Base}.Entry()
		if err != nil {
			return nil, false
		}
		t.cand.rows[r.o.Layout.Rollout(t.key)] = offer
		t.cand.of, t.cand.snap = snap, snap.Offer(row.ID, t.cand.live, t.cand.rows)
	}
	return t.cand.snap, true
}

// offers is what decides which nodes get the candidate.
type offers struct {
	open      bool
	rollout   string
	candidate string // that was read
	admitted  int    // a rollout only adds nodes
	at        time.Duration
}

// offersChanged reports whether the nodes must be offered their version again: after a change, and else once a second, because an
// offer may have failed.
func (t *track) offersChanged() bool {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	now := offers{t.row.State.Offers(), t.row.ID, t.cand.id, len(t.admitted), t.offers.at}
	if now == t.offers && t.r.now()-now.at < idle {
		return false
	}
	t.offers = now
	t.offers.at = t.r.now()
	return true
}

// load reads and verifies the candidate of a rollout, once.
func (t *track) load(ctx context.Context, row rollout.Row) error {
	t.r.mu.Lock()
	loaded := t.cand.id == row.ID
	t.r.mu.Unlock()
	if loaded {
		return nil
	}
	c := candidate{id: row.ID}
	var err error
	var refusal *gate.Refusal // of a newer kvexpress
	if c.live, c.rows, err = read(ctx, t.r.o.Store, t.r.o.Layout, row); errors.Is(err, errDamaged) || errors.As(err, &refusal) {
		c.bad = err.Error()
	} else if err != nil {
		return fmt.Errorf("read the candidate of %s, version %d: %w", row.Key, row.Version, err)
	}
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.cand = c
	return nil
}

// spoil notes that the candidate cannot be offered or promoted any more.
func (t *track) spoil(err error) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.cand.bad = cmp.Or(t.cand.bad, err.Error())
}

// errDamaged: the store has a candidate that is not what its publisher wrote.
var errDamaged = errors.New("the candidate in the store is damaged")

// loadLimit limits the reading of a candidate.
const loadLimit = 10 * time.Second

func read(ctx context.Context, s kv.Reader, l kv.Layout, row rollout.Row) (live record.Live, rows kv.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	k := row.Key
	past, err := s.Read(ctx, kv.Default, l.HistoryData(k, row.Version), l.HistoryManifest(k, row.Version))
	if err != nil {
		return live, nil, err
	}
	data, manifest := past[l.HistoryData(k, row.Version)], past[l.HistoryManifest(k, row.Version)]
	sum := kv.Entry{State: kv.Present, Value: []byte(row.SHA256), Index: manifest.Index}
	if live, err = record.Verify(k, data, sum, manifest); err != nil {
		return live, nil, err
	}
	if live.State != record.Managed || live.Manifest.Version != row.Version {
		return live, nil, fmt.Errorf("%w: %s", errDamaged, cmp.Or(live.Why, "its manifest is of another version"))
	}
	live.Plain = nil
	return live, kv.Snapshot{l.Data(k): data, l.Checksum(k): sum, l.Manifest(k): manifest}, nil
}
