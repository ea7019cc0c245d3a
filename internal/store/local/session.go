package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

// What becomes of the rows that a session holds when it ends.
const (
	Release    = "release"
	DeleteRows = "delete"
)

const (
	maxLockDelay = 60 * time.Second // as Consul cuts it
	ttlFactor    = 2                // Consul gives a session twice its time to live, for networks and clocks
)

// CreateSession makes a session and returns its id. Behavior is Release if it is empty; that it
// and TTL are sound, the caller has made sure of.
func (e *Engine) CreateSession(ctx context.Context, session Session) (string, error) {
	id, err := newUUID()
	if err != nil {
		return "", err
	}
	session.ID = id
	if session.Behavior == "" {
		session.Behavior = Release
	}
	made := &session
	err = e.do(ctx, func(d *draft) error {
		made.CreateIndex, made.ModifyIndex = d.index, d.index
		d.sessions.Insert([]byte(id), made)
		d.made = append(d.made, made)
		return nil
	}, func() { e.expireLater(made) }) //nolint:contextcheck // it lives longer than the request
	if err != nil {
		return "", err
	}
	return id, nil
}

// DestroySession ends a session; one that does not exist is no error. What it held is released or deleted, as its
// Behavior says, and cannot be locked until its LockDelay, at most a minute, is over.
func (e *Engine) DestroySession(ctx context.Context, id string) error {
	var delayed []string
	var delay time.Duration
	return e.do(ctx, func(d *draft) error {
		delayed = nil
		session, ok := d.sessions.Delete([]byte(id))
		if !ok {
			return nil
		}
		d.ended = append(d.ended, id)
		delay = min(session.LockDelay, maxLockDelay)
		delayed = d.letGo(session)
		return nil
	}, func() {
		e.timers.stop(id)
		if delay > 0 {
			e.delays.set(delayed, e.now(), delay)
		}
	})
}

// letGo releases or deletes what a session holds, and tells which paths that were.
func (d *draft) letGo(session *Session) []string {
	var held []*Row
	walk := d.rows.Root().Iterator()
	for _, row, ok := walk.Next(); ok; _, row, ok = walk.Next() {
		if row.Session == session.ID {
			held = append(held, row)
		}
	}
	paths := make([]string, 0, len(held))
	for _, row := range held {
		paths = append(paths, row.Path)
		if session.Behavior == DeleteRows {
			d.delete(row.Path)
			continue
		}
		free := *row
		free.Session = ""
		d.put(free)
	}
	return paths
}

// RenewSession begins the session's time to live anew, and returns the session; nil if there
// is none.
func (e *Engine) RenewSession(id string) *Session {
	session := e.View().Session(id)
	if session != nil {
		e.expireLater(session)
	}
	return session
}

// LockDelayed reports whether a path cannot be locked yet, because the session that held it was
// destroyed or has died. As in Consul, a restart forgets it.
func (e *Engine) LockDelayed(path string) bool { return e.delays.active(path, e.now()) }

// expireLater destroys the session when its time to live is over, unless it is renewed.
func (e *Engine) expireLater(session *Session) {
	ttl, err := time.ParseDuration(session.TTL)
	if err != nil || ttl <= 0 { // none; one that is not sound was never taken
		return
	}
	id := session.ID
	e.timers.start(id, ttl*ttlFactor, func() { e.expire(id) })
	if e.View().Session(id) == nil { // it has ended meanwhile
		e.timers.stop(id)
	}
}

// expireAgain is when a session is ended that could not be, since there was no room on the disk.
const expireAgain = time.Second

// expire ends a session whose time is over. Where nothing is written any more, it is tried
// again after a restart.
func (e *Engine) expire(id string) {
	if err := e.DestroySession(context.Background(), id); errors.Is(err, ErrNotWritten) {
		e.timers.again(id, expireAgain, func() { e.expire(id) })
	}
}

// timers run something once for each id, in time, and wait for it at the end.
type timers struct {
	mu      sync.Mutex
	byID    map[string]*time.Timer
	closed  bool
	running sync.WaitGroup
}

// start sets the timer of id, or sets it anew.
func (t *timers) start(id string, after time.Duration, run func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(id, after, run)
}

// again is start where id has no timer meanwhile.
func (t *timers) again(id string, after time.Duration, run func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[id] == nil {
		t.set(id, after, run)
	}
}

// set is start, with mu held.
func (t *timers) set(id string, after time.Duration, run func()) {
	if t.closed {
		return
	}
	if t.byID == nil {
		t.byID = make(map[string]*time.Timer)
	}
	if old := t.byID[id]; old != nil {
		old.Stop()
	}
	var timer *time.Timer
	timer = time.AfterFunc(after, func() {
		t.mu.Lock()
		if t.closed || t.byID[id] != timer {
			t.mu.Unlock()
			return
		}
		delete(t.byID, id)
		t.running.Add(1)
		t.mu.Unlock()
		defer t.running.Done()
		run()
	})
	t.byID[id] = timer
}

func (t *timers) stop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if timer := t.byID[id]; timer != nil {
		timer.Stop()
		delete(t.byID, id)
	}
}

func (t *timers) close() {
	t.mu.Lock()
	t.closed = true
	for _, timer := range t.byID {
		timer.Stop()
	}
	t.byID = nil
	t.mu.Unlock()
	t.running.Wait()
}

// delays are the paths that cannot be locked yet, and until when.
type delays struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (d *delays) set(paths []string, now time.Time, delay time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil {
		d.until = make(map[string]time.Time)
	}
	for path, until := range d.until {
		if !until.After(now) {
			delete(d.until, path)
		}
	}
	for _, path := range paths {
		d.until[path] = now.Add(delay)
	}
}

func (d *delays) active(path string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.until[path].After(now)
}

// newUUID is an id as Consul's sessions have them.
func newUUID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("make a session's id: %w", err)
	}
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], nil
}
