package fleet

import (
	"context"
	"fmt"
	"time"

	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

// MaxKeys is how many keys a scan has. Published and stopped keys come first: a node can report any
// key.
const MaxKeys = 1000

// Scan is a snapshot of the whole fleet.
type Scan struct {
	Taken time.Time    // when the receipts arrived, by our own clock
	Keys  []ScannedKey // sorted by name

	Receipts    int // nodes that have one
	Unread      int // receipts that cannot be read
	Locks       int // locked files, on all nodes
	ClocksOff   int // see ClockOff
	KeysUnread  int // keys that cannot be read
	KeysLeftOut int // beyond MaxKeys
}

// ScannedKey is the fleet for one key.
type ScannedKey struct {
	Report
	Stopped      bool
	StoppedSince time.Time // by the clock of the machine that stopped it; zero: unknown
	// Oldest is for how long the worst straggler has not been converged; 0 if there is none. Nodes
	// that are stopped, locked or waiting do not count.
	Oldest time.Duration
}

// Scanner reads the whole fleet again and again. It is not safe for concurrent use.
type Scanner struct {
	reader  Reader
	expiry  time.Duration
	index   uint64 // of the last scan's receipts; 0: do not wait for a change
	missing missing
}

// NewScanner makes a Scanner. The receipts are those of a hub; nil: of the store. A node without contact for longer than
// expiry is left out.
func NewScanner(s kv.Store, l kv.Layout, hub Hub, expiry time.Duration) *Scanner {
	return &Scanner{reader: Reader{Store: s, Layout: l, Hub: hub}, expiry: expiry, missing: missing{}}
}

// Scan reads all receipts, keys, stops and locks. After a scan that succeeded it first waits for a
// changed receipt, at most for wait. The error is the store's.
func (s *Scanner) Scan(ctx context.Context, wait time.Duration) (*Scan, error) {
	since := s.index
	s.index = 0 // until this scan succeeds
	roster, err := s.reader.Roster(ctx, since, wait)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	keys, left, err := s.keys(ctx, roster)
	if err != nil {
		return nil, err
	}
	all, err := s.reader.Live(ctx, roster, keys...)
	if err != nil {
		return nil, err
	}
	locks, err := hold.Freezer{Recorder: hold.Recorder{Store: s.reader.Store, Layout: s.reader.Layout}}.Locks(ctx)
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
	s.examine(scan, roster, all)
	if len(roster.Nodes) > 0 && roster.Index >= since { // else the store counts from 1 again
		s.index = roster.Index
	}
	return scan, nil
}

func (s *Scanner) examine(scan *Scan, roster Roster, all []Live) {
	off, known := map[string]bool{}, map[string]bool{}
	for _, live := range all {
		known[string(live.Key)] = true
		if live.Err != nil {
			scan.KeysUnread++
			continue
		}
		r := Examine(roster, live, Options{Expiry: s.expiry})
		k := ScannedKey{Report: r, Stopped: live.Stopped(), Oldest: s.missing.note(r, scan.Taken)}
		if k.Stopped {
			k.StoppedSince, _ = kv.FreezeTimes(live.Stop.Flags)
		}
		for _, c := range r.Clocks {
			clock := c.Who + " " + c.Node
			if c.Who == "publisher" { // another one for each key
				clock += r.Key
			}
			off[clock] = true
		}
		scan.Keys = append(scan.Keys, k)
	}
	scan.ClocksOff = len(off)
	s.missing.keep(known)
}

// keys lists the published, stopped and reported keys, sorted. left is how many are beyond MaxKeys.
func (s *Scanner) keys(ctx context.Context, roster Roster) (keys []kv.Key, left int, err error) {
	below := s.reader.Layout.Prefix() + "/"
	found, err := kv.ListKeys(ctx, s.reader.Store, s.reader.Layout)
	if err != nil {
		return nil, 0, err
	}
	if may, err := kv.MayRead(ctx, s.reader.Store, below); err != nil {
		return nil, 0, err
	} else if !may {
		return nil, 0, fmt.Errorf("the token cannot read all keys below %s: %w", below, kv.ErrDenied)
	}
	keys = found.Sorted("checksum", "stop")
	over := max(0, len(keys)-MaxKeys)
	keys, left = roster.Keys(keys[:len(keys)-over], MaxKeys-len(keys)+over)
	return keys, len(found.Left) + over + left, nil
}
