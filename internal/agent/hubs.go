package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/wait"
)

const (
	// dialTime limits one attempt to connect to a hub.
	dialTime = 5 * time.Second
	// refusedFor is how long a hub is left alone that refused this agent.
	refusedFor = time.Minute
	// homeEvery is how often an agent tries to go back to its preferred hub, with as much jitter.
	homeEvery = 30 * time.Second
	// perAgent spreads the agents of a lost hub, over leastMove to mostMove.
	perAgent, leastMove, mostMove = time.Second / 1500, time.Second, time.Minute
	// Without a hub, agents ask the store themselves after leastPatience to mostPatience; at the start after leastFirst to
	// mostFirst, so that a boot does not wait.
	leastPatience, mostPatience = 10 * time.Second, time.Minute
	leastFirst, mostFirst       = time.Second, 5 * time.Second
)

// preferred orders hubs for a node, by rendezvous hashing: a node keeps its order when another hub comes or goes.
func preferred(node string, addrs []string) []string {
	weight := func(addr string) string {
		sum := sha256.Sum256([]byte(node + "\x00" + addr))
		return string(sum[:])
	}
	order := slices.Clone(addrs)
	slices.SortFunc(order, func(a, b string) int { return strings.Compare(weight(b), weight(a)) })
	return order
}

// between is a time between two, by the node's name.
func (h *hubSource) between(least, most time.Duration) time.Duration {
	return least + time.Duration(share(h.node)*float64(most-least))
}

// jitter is a random time up to most.
func (h *hubSource) jitter(most time.Duration) time.Duration {
	return time.Duration(h.random() * float64(most))
}

// finder keeps an agent connected. Only its goroutine uses it.
type finder struct {
	*hubSource
	refused map[string]time.Time // until when a hub is left alone
	failed  map[string]string    // why a hub cannot be reached, as it was logged
}

// run keeps a hub connected until ctx ends.
func (h *hubSource) run(ctx context.Context) {
	f := &finder{hubSource: h, refused: map[string]time.Time{}, failed: map[string]string{}}
	h.wanting(ctx, h.between(leastFirst, mostFirst))
	var health sync.WaitGroup
	health.Go(func() { h.reportHealth(ctx) })
	defer health.Wait()
	lost := ""
	for failures := 0; ctx.Err() == nil; {
		s := f.connect(ctx, lost, func(*session) bool { return true })
		if s != nil {
			s = f.stay(ctx, s)
			lost = s.addr
			if refused := (*refusedError)(nil); errors.As(s.cause(), &refused) {
				f.refuse(ctx, s.addr, refused)
			}
			if time.Since(s.since) > settled {
				failures = 0
				f.pause(ctx, f.jitter(f.moveTime(s)))
				continue
			}
		}
		backoff := wait.Backoff{Least: leastMove, Most: 10 * time.Second}.After(failures)
		failures++
		f.pause(ctx, backoff/2+f.jitter(backoff))
	}
}

// pause waits for a time, or until a reload: then a hub that refused this agent may accept it.
func (f *finder) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-f.reloaded:
		clear(f.refused)
	}
}

// refuse leaves a hub alone for a while.
func (f *finder) refuse(ctx context.Context, addr string, err *refusedError) {
	f.refused[addr] = time.Now().Add(refusedFor)
	f.fail(ctx, addr, err)
}

// fail notes why a hub cannot be reached, and logs it once.
func (f *finder) fail(ctx context.Context, addr string, err error) {
	text := oneLine(err.Error())
	f.mu.Lock()
	if f.session == nil {
		f.err = err
	}
	f.mu.Unlock()
	if f.failed[addr] != text && ctx.Err() == nil {
		f.failed[addr] = text
		f.log.Warn("cannot use a hub", "hub", addr, "error", text)
	}
}

// connect connects to the first hub that can be reached and is good, in the order of preference; last only if no other can.
func (f *finder) connect(ctx context.Context, last string, good func(*session) bool) *session {
	addrs := slices.DeleteFunc(slices.Clone(f.order), func(addr string) bool { return addr == last })
	if last != "" {
		addrs = append(addrs, last)
	}
	for _, addr := range addrs {
		if s := f.try(ctx, addr, good); s != nil || ctx.Err() != nil {
			return s
		}
	}
	return nil
}

// try connects to a hub, and makes it the source if it is good.
func (f *finder) try(ctx context.Context, addr string, good func(*session) bool) *session {
	if time.Now().Before(f.refused[addr]) {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, dialTime)
	s, err := f.open(limited, addr)
	cancel()
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		f.refuse(ctx, addr, refused)
		return nil
	} else if err != nil {
		f.fail(ctx, addr, err)
		return nil
	}
	delete(f.failed, addr)
	if !good(s) {
		_ = s.conn.Close() // it was only asked
		return nil
	}
	f.adopt(ctx, s)
	return s
}

// stay follows a hub, and moves to a better one, until no hub is connected. It returns the last one.
func (f *finder) stay(ctx context.Context, s *session) *session {
	home := time.Now().Add(homeEvery + f.jitter(homeEvery))
	var leave time.Time
	for {
		next := home
		if stale := f.staleAt(s); stale.After(time.Now()) && stale.Before(next) {
			next = stale
		}
		if !leave.IsZero() && leave.Before(next) {
			next = leave
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return s
		case <-f.reloaded:
			timer.Stop()
			clear(f.refused)
			continue
		case within := <-s.leave:
			timer.Stop()
			leave = time.Now().Add(f.jitter(within))
			continue
		case <-timer.C:
		}
		var other *session
		switch {
		case !leave.IsZero():
			other = f.better(ctx, s, f.order, func(*session) bool { return true })
			leave = time.Now().Add(leastMove) // if there is no other hub, until this one ends the connection
		case f.age(s) > StaleAfter:
			other = f.better(ctx, s, f.order, func(o *session) bool { return f.age(o) < f.age(s) })
		case time.Now().Before(home):
			continue // the hub has confirmed what it knows
		case s.addr != f.order[0]:
			other = f.better(ctx, s, f.order[:1], func(o *session) bool { return f.age(o) <= max(StaleAfter, f.age(s)) })
		}
		if home = time.Now().Add(homeEvery + f.jitter(homeEvery)); other != nil {
			s, leave = other, time.Time{}
		}
	}
}

// staleAt is when the knowledge of a hub will be too old, if it is not confirmed: not at one moment for all its agents.
func (f *finder) staleAt(s *session) time.Time {
	return time.Now().Add(StaleAfter - f.age(s) + f.jitter(f.moveTime(s)))
}

// better moves to another hub that is good. The old connection ends once the new one is there.
func (f *finder) better(ctx context.Context, s *session, addrs []string, good func(*session) bool) *session {
	for _, addr := range addrs {
		if addr != s.addr && ctx.Err() == nil {
			if o := f.try(ctx, addr, good); o != nil {
				return o
			}
		}
	}
	return nil
}

// moveTime is the time in which all agents of a hub that was lost connect to others.
func (h *hubSource) moveTime(s *session) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return min(max(leastMove, time.Duration(s.agents)*perAgent), mostMove)
}

// age is how old the knowledge of a hub is.
func (h *hubSource) age(s *session) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(s.confirmed)
}
