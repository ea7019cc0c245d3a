package consul

import (
	"net/http"
	"sync"
	"time"
)

// clock is what the Date of answers tells: by how much this machine's clock is ahead of
// the store's, between two bounds. Date has whole seconds, so that one answer leaves open
// a second and the time of its request. The answers together leave open less.
type clock struct {
	mu          sync.Mutex
	known       bool
	least, most time.Duration
}

// send makes a request, and notes the Date of its answer.
func (s *Store) send(req *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := s.transport.RoundTrip(req)
	if err == nil {
		s.clock.note(asked, time.Now(), resp.Header.Get("Date"))
	}
	return resp, err
}

// note takes in an answer that was written between two moments. How long it was between
// them is known although the clock may have been set meanwhile.
func (c *clock) note(asked, came time.Time, date string) {
	store, err := http.ParseTime(date)
	if err != nil {
		return
	}
	most := came.Sub(store)
	least := most - came.Sub(asked) - time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && least <= c.most && most >= c.least {
		least, most = max(least, c.least), min(most, c.most)
	} // else the clock was set, or has drifted: what was known before is no more
	c.known, c.least, c.most = true, least, most
}

// Offset implements kv.Clock: what is nearest to none, so that no clock is taken for wrong
// that may be right.
func (s *Store) Offset() (time.Duration, bool) {
	c := &s.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.least, min(c.most, 0)), c.known
}
