package consul

import (
	"sync"
	"time"
)

const (
	// minCut is the shortest time after which something may have ended a query because it waited.
	minCut = time.Second
	// longerEvery is how often a longer wait is tried than the last that was not cut off.
	longerEvery = time.Hour
)

// longest is how long a query may wait. A proxy ends what waits for longer than it allows. That is found out from two
// waits that ended after the same time, the second of which began when the first had ended: a store that is
// restarted ends many at one moment, after different times.
type longest struct {
	mu    sync.Mutex
	most  time.Duration // 0: no wait has been cut off
	again time.Time     // when a longer one may be tried
	last  time.Duration // how long one lasted that was cut off
	ended time.Time     // when it was
}

// next is how long the next query waits, of so long as is wanted. It may be a trial of a longer wait.
func (l *longest) next(wanted time.Duration) (wait time.Duration, trial bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case l.most == 0 || wanted <= l.most:
		return wanted, false
	case now.Before(l.again):
		return l.most, false
	}
	l.again = now.Add(longerEvery)
	return wanted, true
}

// cut notes a wait that was cut off, although the store is there.
func (l *longest) cut(began time.Time, lasted time.Duration, trial bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if trial || began.Before(l.ended) {
		return
	}
	if lower := min(l.last, lasted); max(l.last, lasted)-lower < lower/10 {
		l.most, l.again = lower*9/10, time.Now().Add(longerEvery)
	}
	l.last, l.ended = lasted, time.Now()
}

// lasted notes a trial that was not cut off.
func (l *longest) lasted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.most = 0
}
