package web

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wait"
)

const (
	// readFor is how long the fleet is read after a page was asked for last.
	readFor = time.Minute
	// A reading waits for a changed receipt, at most for every. The pause between two is at least leastPause, and pauseShare
	// times as long as a reading takes.
	every      = 700 * time.Millisecond
	leastPause = 200 * time.Millisecond
	pauseShare = 4
	// failedPause is the pause after a reading that failed.
	failedPause = time.Second
	// readLimit limits one reading, and keysEvery is how often the names of all keys are listed.
	readLimit = 30 * time.Second
	keysEvery = 5 * time.Second
	maxKeys   = fleet.MaxKeys
)

// model reads the fleet again and again while a page is open.
type model struct {
	o      Options
	reader fleet.Reader
	past   past

	listed   []kv.Key // published and stopped keys
	listedAt time.Time

	mu      sync.Mutex
	now     *snapshot     // nil before the first reading
	failed  error         // of the last reading
	asked   time.Time     // when a page was asked for last
	wake    chan struct{} // holds one: a page was asked for
	changed chan struct{} // closed, and replaced, after each reading
}

func newModel(o Options) *model {
	return &model{o: o, reader: fleet.Reader{Store: o.Store, Layout: o.Layout, Hub: o.Receipts},
		wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// run reads while pages are open, until ctx ends.
func (m *model) run(ctx context.Context) {
	for since := uint64(0); ctx.Err() == nil; {
		if !m.wanted() {
			since = 0 // the next reading must not wait
			select {
			case <-m.wake:
			case <-ctx.Done():
			}
			continue
		}
		s, err := m.read(ctx, since)
		m.note(s, err)
		pause := failedPause
		if err == nil {
			since, pause = s.roster.Index, max(leastPause, pauseShare*time.Since(s.taken))
		}
		_ = wait.For(ctx, pause)
	}
}

// wanted reports whether a page is open.
func (m *model) wanted() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.asked) < readFor
}

// read reads receipts, keys, stops and locks.
func (m *model) read(ctx context.Context, since uint64) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	roster, err := m.reader.Roster(ctx, since, every)
	if err != nil {
		return nil, err
	}
	s := &snapshot{o: &m.o, past: &m.past, roster: roster, taken: time.Now(), live: map[kv.Key]fleet.Live{},
		details: map[kv.Key]*fleet.Report{}, rendered: map[string][]byte{}}
	if time.Since(m.listedAt) > keysEvery {
		found, err := kv.ListKeys(ctx, m.o.Store, m.o.Layout)
		if err != nil {
			return nil, err
		}
		m.listed, m.listedAt = found.Sorted("checksum", "stop"), time.Now()
	}
	keys, left := roster.Keys(m.listed[:min(len(m.listed), maxKeys)], max(0, maxKeys-len(m.listed)))
	s.left = left + max(0, len(m.listed)-maxKeys)
	all, err := m.reader.Live(ctx, roster, keys...)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		s.live[l.Key] = l
	}
	whole := slices.DeleteFunc(all, func(l fleet.Live) bool { return l.Err != nil })
	s.reports = fleet.ExamineAll(roster, whole, fleet.Options{Expiry: m.o.Expiry})
	s.locks, s.noLocks = hold.Freezer{Recorder: hold.Recorder{Store: m.o.Store, Layout: m.o.Layout}}.Locks(ctx)
	s.rolls, s.noRolls = m.rollouts(ctx)
	for _, k := range m.past.keys() { // their deliveries are kept
		s.detail(k)
	}
	return s, nil
}

// rollouts reads the rollouts that have not ended. One that cannot be read is left out: the page of its key says why.
func (m *model) rollouts(ctx context.Context) (map[kv.Key]rollout.Row, error) {
	dir := m.o.Layout.RolloutsDir()
	all, err := m.o.Store.List(ctx, kv.Default, dir, 0, 0)
	if err != nil {
		return nil, err
	}
	if may, err := kv.MayRead(ctx, m.o.Store, dir); err != nil {
		return nil, err
	} else if !may || all.Filtered {
		return nil, fmt.Errorf("the hub's token may not read the rollouts below %s: %w", dir, kv.ErrDenied)
	}
	open := map[kv.Key]rollout.Row{}
	for _, row := range all.Rows {
		k := kv.Key(strings.TrimPrefix(row.Path, dir))
		if r, err := rollout.ParseRow(k, row.Entry); err == nil && r != nil && !r.State.Ended() {
			open[k] = *r
		}
	}
	return open, nil
}

// note takes a reading. After one that failed, the last snapshot is shown, with the error.
func (m *model) note(s *snapshot, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed = err; err == nil {
		s.read = time.Now()
		m.now = s
	} else if m.now != nil {
		m.now = m.now.stale(err)
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// newest is the newest snapshot; after a time without readers, it waits for a new one.
func (m *model) newest(ctx context.Context) (*snapshot, error) {
	s, changed := m.ask()
	for s == nil || time.Since(s.read) > readFor {
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		m.mu.Lock()
		err := m.failed
		m.mu.Unlock()
		if s, changed = m.ask(); s == nil && err != nil {
			return nil, err
		}
	}
	return s, nil
}

// after waits until the fleet was read after a time: at most for settle.
func (m *model) after(ctx context.Context, at time.Time) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	for {
		s, changed := m.ask()
		if s != nil && s.taken.After(at) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// ask says that a page is open. changed is closed after the next reading.
func (m *model) ask() (now *snapshot, changed <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = time.Now()
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return m.now, m.changed
}
