package consul

import (
	"net/http"
	"sync"
	"time"
)

// clock estimates the skew between this machine's clock and the store's, between two bounds. One answer's Date, in whole
// seconds, leaves an uncertainty of a second and the time of the request. Several answers together narrow it down.
type clock struct {
	mu          sync.Mutex
	known       bool
	least, most time.Duration
}

// send sends a request and notes the Date of the answer.
func (s *Store) send(req *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := s.transport.RoundTrip(req)
	if err == nil {
		s.clock.note(asked, time.Now(), resp.Header.Get("Date"))
	}
	return resp, err
}

// note adds an answer that was written between two times. Their difference is monotonic, so setting the clock does not matter.
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
	} // else the clock was set, or has drifted: the older bounds are void
	c.known, c.least, c.most = true, least, most
}

// Offset implements kv.Clock: the smallest possible skew, so that a clock that may be right is not reported as wrong.
func (s *Store) Offset() (time.Duration, bool) {
	c := &s.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.least, min(c.most, 0)), c.known
}
