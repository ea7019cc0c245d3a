package fanout

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/safetext"
	"kvexpress/internal/wire"
)

const (
	// The rights of a token are checked again after checkEvery; with many agents later, but at most after checkLatest.
	checkEvery, checkLatest = time.Minute, 5 * time.Minute
	checksPerSecond         = 600
	checksAtOnce            = 16
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

func (d denials) apply(subs map[kv.Key]*sub) {
	for k, u := range subs {
		u.denied = d[k]
	}
}

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
	paths = append(paths, f.o.Layout.Node(node)) // the only one that is written
	for n, some := range slices.Collect(slices.Chunk(paths, kv.MaxOps)) {
		var writes []string
		if (n+1)*kv.MaxOps >= len(paths) {
			some, writes = some[:len(some)-1], some[len(some)-1:]
		}
		bad, err := f.o.Rights.Denied(ctx, token, some, writes)
		if errors.Is(err, kv.ErrDenied) {
			return nil, errToken
		} else if err != nil {
			return nil, err
		}
		for _, path := range bad {
			if path == f.o.Layout.Node(node) {
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

// checkDue reports whether the rights must be checked again.
func (s *session) checkDue(now time.Time) bool {
	if s.f.o.Rights == nil {
		return false
	}
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
	token, node, subs := s.token, s.node, s.subs
	s.mu.Unlock()
	denied, err := s.f.check(ctx, token, node, subs)
	if errors.Is(err, errToken) {
		s.refuse(unknownToken(node))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rights.checked(time.Now(), err)
	if err != nil {
		return
	}
	s.noReceipts = denied[""]
	for k, u := range subs {
		if before := u.denied; before != denied[k] {
			u.denied = denied[k]
			if !u.dirty && u.ready {
				u.dirty = true
				s.dirty = append(s.dirty, u)
			}
		}
	}
	s.wake() // snapshots may have waited
}
