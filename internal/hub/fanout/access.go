package fanout

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wait"
	"kvexpress/internal/wire"
)

const (
	// The rights of a token are checked again after checkEvery, with many agents later. Each takes a transaction for 64 paths.
	checkEvery      = time.Minute
	checksPerSecond = 600 // transactions
	checksAtOnce    = 16
)

// errToken: the store does not know the token.
var errToken = errors.New("the store does not know the token")

// rights is what is known of a session's token. The session's mu guards it.
type rights struct {
	at      time.Time // the last check that succeeded
	next    time.Time
	failed  error // why the last check could not be made: nothing new is sent
	running bool
}

// checked notes a check.
func (r *rights) checked(now time.Time, err error) {
	r.running, r.failed, r.next = false, err, now.Add(checkEvery)
	if err == nil {
		r.at = now
	} else {
		r.next = now.Add(checkEvery / 12)
	}
}

// denials are the keys that a token may not read, and why; "" is the receipt.
type denials map[kv.Key]string

// check asks the store what the token may read. The error is errToken, or why it could not be asked.
func (f *Fanout) check(ctx context.Context, token, node string, subs map[kv.Key]*sub) (denials, error) {
	denied := denials{}
	if f.o.Rights == nil {
		return denied, nil
	}
	owner := map[string]kv.Key{}
	var paths []string
	for _, k := range slices.Sorted(maps.Keys(subs)) {
		l := f.o.Layout
		rows := []string{l.Data(k), l.Checksum(k), l.Manifest(k), l.Stop(k)}
		for _, path := range append(rows, slices.Sorted(maps.Keys(subs[k].files))...) {
			owner[path] = k
			paths = append(paths, path)
		}
	}
	receipt := f.o.Layout.Node(node) // the only one that is written
	if !f.o.ByCertificate {
		paths = append(paths, receipt)
	}
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for n, some := range slices.Collect(slices.Chunk(paths, kv.MaxOps)) {
		var writes []string
		if last := (n+1)*kv.MaxOps >= len(paths); last && !f.o.ByCertificate {
			some, writes = some[:len(some)-1], some[len(some)-1:]
		}
		bad, err := f.o.Rights.Denied(ctx, token, some, writes)
		if errors.Is(err, kv.ErrDenied) {
			return nil, errToken
		} else if err != nil {
			return nil, err
		}
		for _, path := range bad {
			if path == receipt {
				denied[""] = "the token may not write " + path + "; `kvexpress acl node --node " + node +
					" -k KEY` prints the policy that it needs"
				continue
			}
			denied[owner[path]] = "the token of " + node + " may not read " + safetext.Cut(path, kv.MaxReason) +
				"; `kvexpress acl node --node " + node + " -k " + string(owner[path]) + "` prints the policy that it needs"
		}
	}
	return denied, nil
}

func unknownToken(node string) *Refusal {
	return &Refusal{wire.Token, "the store does not know the token of " + node + "; check token_file in agent.yml"}
}

// checkRights checks the rights of all sessions again and again, until ctx ends.
func (f *Fanout) checkRights(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	places := make(chan struct{}, checksAtOnce)
	for f.o.Rights != nil && wait.For(ctx, tick) == nil {
		now, budget := time.Now(), checksPerSecond
		for _, s := range f.all() {
			if budget > 0 && s.checkDue(now) {
				budget -= s.checkCost()
				places <- struct{}{}
				checks.Go(func() { s.checkAgain(ctx); <-places })
			}
		}
	}
}

// checkCost is about how many transactions a check takes.
func (s *session) checkCost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 1 + len(s.subs)*5/kv.MaxOps
}

// checkDue reports whether the rights must be checked again.
func (s *session) checkDue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil || s.rights.running || now.Before(s.rights.next) {
		return false
	}
	s.rights.running = true
	return true
}

// checkAgain checks the rights again. A token that the store no longer knows ends the session.
func (s *session) checkAgain(ctx context.Context) {
	s.mu.Lock()
	token, node, subs, hellos := s.token, s.node, s.subs, s.hellos
	s.mu.Unlock()
	denied, err := s.f.check(ctx, token, node, subs)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch before := s.noReceipts; {
	case s.hellos != hellos || s.subs == nil: // it is about another token
	case errors.Is(err, errToken):
		s.bye(unknownToken(node))
	default:
		s.checked(time.Now(), denied, err)
		if s.noReceipts != before {
			s.queue(wire.FromHub{Failed: &wire.Failed{Reason: wire.Denied, Says: safetext.Joined(s.noReceipts, kv.MaxReason)}})
		}
		s.follow() // snapshots may have waited
	}
}

// checked notes what a check has found, or why it could not be made; mu is held. Until the first one that could, nothing is
// allowed.
func (s *session) checked(now time.Time, denied denials, err error) {
	s.rights.checked(now, err)
	switch {
	case err == nil:
		s.noReceipts = denied[""]
		for k, u := range s.subs {
			if u.denied != denied[k] {
				u.denied, u.told = denied[k], false
				s.crew(k)
				if u.ready {
					s.mark(u)
				}
			}
		}
	case s.rights.at.IsZero():
		s.noReceipts = "the rights of the token cannot be checked: " + err.Error()
	}
	s.contact(s.noReceipts == "")
}

// contact makes the session a connection of its node, or not; mu is held. Only a token that may write the row of a node shows
// that the node is there, and a probe does not.
func (s *session) contact(on bool) {
	if on = on && !s.probe; s.there == on || s.f.o.Receipts == nil {
		return
	}
	s.there = on
	for k := range s.subs {
		s.crew(k)
	}
	by := 1
	if !on {
		by = -1
	}
	s.f.o.Receipts.Connected(s.node, by)
}
