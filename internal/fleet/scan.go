package fleet

import (
	"context"
	"fmt"
	"slices"
	"time"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

// MaxKeys is how many keys are told of. Receipts name keys, and a node may say what it
// likes: published and stopped ones come first.
const MaxKeys = 1000

// Scan is the whole fleet at one moment.
type Scan struct {
	Taken time.Time     // when the receipts came, by our own clock
	Took  time.Duration // from then until all was read and counted
	Keys  []ScannedKey  // sorted by name

	Receipts    int // of nodes
	Unread      int // of those, how many cannot be used
	Locks       int // files that are locked, on all nodes
	ClocksOff   int // clocks that are wrong, see ClockOff
	KeysUnread  int // keys of which nothing is known, though the store answered
	KeysLeftOut int // beyond MaxKeys
}

// ScannedKey is the fleet for one key.
type ScannedKey struct {
	Report
	Stopped bool
	// StoppedSince is when it was stopped, by the clock of whoever did; zero: not known.
	StoppedSince time.Time
	// Oldest is for how long that node has been missing that is missing longest, without
	// those that are held back on purpose; 0 if there is none.
	Oldest time.Duration
}

// Scanner reads the whole fleet again and again. It is not safe for concurrent use.
type Scanner struct {
	reader  Reader
	expiry  time.Duration
	index   uint64 // of the receipts of the last scan, to wait for a change with
	missing missing
}

// NewScanner makes a Scanner. A node without contact for longer than expiry is left out.
func NewScanner(s kv.Store, l kv.Layout, expiry time.Duration) *Scanner {
	return &Scanner{reader: Reader{Store: s, Layout: l}, expiry: expiry, missing: missing{}}
}

// Scan reads everything. Unless it is the first one, or the last one failed, it waits for
// a change of the receipts first, and for wait at most. The error is the store's.
func (l *Scanner) Scan(ctx context.Context, wait time.Duration) (*Scan, error) {
	since := l.index
	l.index = 0 // until it is known
	roster, err := l.reader.Roster(ctx, since, wait)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	keys, left, err := l.keys(ctx, roster)
	if err != nil {
		return nil, err
	}
	standings, err := l.reader.Standings(ctx, roster, keys...)
	if err != nil {
		return nil, err
	}
	locks, err := hold.Freezer{Store: l.reader.Store, Layout: l.reader.Layout}.Locks(ctx)
	if err != nil {
		return nil, err
	}
	scan := &Scan{Taken: now, Receipts: len(roster.Nodes), KeysLeftOut: left}
	for _, n := range roster.Nodes {
		if n.Err != nil {
			scan.Unread++
		}
	}
	for _, lock := range locks {
		if lock.Until.IsZero() || lock.Until.After(now) {
			scan.Locks++
		}
	}
	l.examine(scan, roster, standings)
	if len(roster.Nodes) > 0 && roster.Index >= since { // lower ones began anew
		l.index = roster.Index
	}
	scan.Took = time.Since(now)
	return scan, nil
}

func (l *Scanner) examine(scan *Scan, roster Roster, standings []Standing) {
	off := map[string]bool{}
	known := map[string]bool{}
	for _, standing := range standings {
		known[string(standing.Key)] = true
		if standing.Err != nil {
			scan.KeysUnread++
			continue
		}
		r := Examine(roster, standing, Options{Expiry: l.expiry})
		k := ScannedKey{Report: r, Stopped: standing.Stopped(), Oldest: l.missing.note(r, scan.Taken)}
		if k.Stopped {
			k.StoppedSince, _ = kv.FreezeTimes(standing.Stop.Flags)
		}
		for _, c := range r.Clocks {
			who := c.Who + " " + c.Node
			if c.Who == "publisher" {
				who += r.Key // each key may have another
			}
			off[who] = true
		}
		scan.Keys = append(scan.Keys, k)
	}
	scan.ClocksOff = len(off)
	l.missing.keep(known)
}

// keys are all that are published or stopped, or that a node has reported, sorted; and
// how many were left out.
func (l *Scanner) keys(ctx context.Context, roster Roster) ([]kv.Key, int, error) {
	below := l.reader.Layout.Prefix() + "/"
	found, err := kv.ListKeys(ctx, l.reader.Store, l.reader.Layout)
	if err != nil {
		return nil, 0, err
	}
	if may, err := kv.MayRead(ctx, l.reader.Store, below); err != nil {
		return nil, 0, err
	} else if !may {
		return nil, 0, fmt.Errorf("not all keys below %s may be read: %w", below, kv.ErrDenied)
	}
	var keys []kv.Key
	have := map[kv.Key]bool{}
	left := len(found.Left)
	add := func(k kv.Key) {
		switch {
		case have[k]:
		case len(keys) < MaxKeys:
			keys = append(keys, k)
			have[k] = true
		default:
			left++
			have[k] = true
		}
	}
	for _, k := range found.Sorted("checksum", "stop") {
		add(k)
	}
	for _, n := range roster.Nodes {
		for _, t := range n.Receipt.Targets {
			if k, err := kv.ParseKey(t.Key); err == nil && string(k) == t.Key {
				add(k)
			}
		}
	}
	slices.Sort(keys)
	return keys, left, nil
}
