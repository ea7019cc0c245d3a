package agent

import (
	"crypto/sha256"
	"encoding/binary"
	"kvexpress/internal/outcome"
	"time"
)

// postpone decides about a new version: each node waits for another part of spread,
// so that a fleet does not change at one moment. A version waits once, and those that
// come meanwhile wait with it. A first install does not wait, nor what a lock has held
// back: somebody at this very node has just lifted it.
func (t *target) postpone(sha256 string) bool {
	locked := t.heldBy != nil && t.heldBy.Path != t.layout.Stop(t.Key)
	now := time.Now()
	switch {
	case locked, t.status.SHA256 == "", sha256 == t.status.SHA256, sha256 == t.served:
		return false
	case t.holdOff.IsZero():
		t.holdOff = now.Add(t.delay())
	case !t.holdOff.After(now):
		t.served = sha256
		return false
	}
	return true
}

// wait notes that there is a new version that waits.
func (t *target) wait() {
	t.heldBy, t.retry, t.denied, t.blind = nil, time.Time{}, 0, false
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(outcome.Waiting, nil, now)
	t.status.Detail = "a new version is installed in " + t.holdOff.Sub(now).Round(time.Second).String()
}

// delay is how long this node holds a new version back, by its name alone.
func (t *target) delay() time.Duration {
	return time.Duration(share(t.node) * float64(t.Spread))
}

// splay is when the first look without a change is due: anywhere in the interval,
// by the node's name and the file's.
func (t *target) splay() time.Duration {
	return time.Duration(share(t.node+"\x00"+t.File) * float64(t.every))
}

// share is a number from 0 to 1 that depends on the text alone.
func share(text string) float64 {
	sum := sha256.Sum256([]byte(text))
	return float64(binary.BigEndian.Uint64(sum[:])>>11) / (1 << 53)
}
