package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
)

// doubt reports an unknown outcome for one commit, applied or not.
func doubt(s *probe, commit int, applied bool) {
	s.before = func(n int, ops []kv.Op) ([]kv.Op, error) {
		if n == commit && !applied {
			return nil, errUnknown
		}
		return ops, nil
	}
	s.after = func(n int, _ []kv.Op, err error) error {
		if n == commit && err == nil {
			return errUnknown
		}
		return err
	}
}

// before runs f once before the step.
func before(p *Publisher, at Point, f func()) {
	done := false
	p.Fault = func(st Point) error {
		if st == at && !done {
			done = true
			f()
		}
		return nil
	}
}

var errDied = errors.New("died")

// dieAt ends each publish of p before the step.
func dieAt(p *Publisher, at Point) {
	p.Fault = func(st Point) error {
		if st == at {
			return errDied
		}
		return nil
	}
}

func TestUnknownOutcomeAtEachCommit(t *testing.T) {
	small, large := []byte("mine\n"), noise(300<<10, 1)
	tests := map[string]struct {
		content  []byte
		commit   int // of this publish
		applied  bool
		resolved bool
		attempts int
		commits  int
	}{
		"promote applied":              {small, 1, true, true, 1, 1},
		"promote not applied":          {small, 1, false, true, 1, 2},
		"history applied":              {large, 1, true, false, 3, 3},
		"history not applied":          {large, 1, false, false, 2, 3},
		"promote after history":        {large, 2, true, true, 1, 2},
		"promote after history, never": {large, 2, false, true, 1, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &everyFlip{Store: newStore()}
			do(t, publisher(t, s), "first\n")
			pr := &probe{Store: s}
			doubt(pr, tt.commit, tt.applied)
			p := publisher(t, pr)
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: tt.content})
			if err != nil {
				t.Fatal(err)
			}
			if res.Version != 2 || res.Resolved != tt.resolved || res.Attempts != tt.attempts || pr.commits != tt.commits {
				t.Errorf("got %+v after %d commits", res, pr.commits)
			}
			mustBeLive(t, s, p.Layout, hosts, res, tt.content)
			s.check(t, 2) // never published twice
		})
	}
}

// TestUnknownOutcomeThenOthers changes the store before the outcome is resolved.
func TestUnknownOutcomeThenOthers(t *testing.T) {
	l := layout(t, "kvexpress")
	large := noise(300<<10, 1)
	rival := func(n int) func(*testing.T, kv.Store) {
		return func(t *testing.T, s kv.Store) {
			for i := range n {
				do(t, publisher(t, s), fmt.Sprintf("rival %d\n", i))
			}
		}
	}
	gone := func(t *testing.T, s kv.Store) { remove(t, s, l.Data(hosts), l.Checksum(hosts), l.Manifest(hosts)) }
	none := func(*testing.T, kv.Store) {}
	tests := map[string]struct {
		content []byte
		setup   func(*testing.T, kv.Store)
		commit  int
		applied bool
		then    func(*testing.T, kv.Store)
		version uint64 // 0: an error is wanted
		note    string // or a part of the error
		is      error
	}{
		"superseded":        {[]byte("mine\n"), rival(1), 1, true, rival(3), 2, "superseded by version 5", nil},
		"superseded, large": {large, rival(1), 2, true, rival(3), 2, "superseded by version 5", nil},
		"removed since":     {[]byte("mine\n"), rival(1), 1, true, gone, 2, "replaced or removed", nil},
		"beaten": {[]byte("mine\n"), rival(1), 1, false, func(t *testing.T, s kv.Store) { do(t, publisher(t, s), "x\n") },
			3, "", nil},
		"beaten, large":      {large, rival(1), 2, false, func(t *testing.T, s kv.Store) { do(t, publisher(t, s), "x\n") }, 3, "", nil},
		"history pruned":     {[]byte("mine\n"), rival(1), 1, true, rival(11), 0, "no longer has", kv.ErrUnknownOutcome},
		"history not pruned": {[]byte("mine\n"), rival(1), 1, true, rival(9), 2, "superseded by version 11", nil},
		"stopped": {[]byte("mine\n"), rival(1), 1, false,
			func(t *testing.T, s kv.Store) { put(t, s, l.Stop(hosts), "hold", 0) }, 0, "hold", nil},
		// Our history entry is marked: it was never live.
		"made anew":      {large, none, 2, false, rival(1), 2, "", nil},
		"removed, large": {large, rival(1), 2, true, gone, 2, "replaced or removed", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			tt.setup(t, s)
			pr := &probe{Store: s}
			doubt(pr, tt.commit, tt.applied)
			p := publisher(t, pr)
			before(p, AtResolve, func() { tt.then(t, s) })
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: tt.content})
			if tt.version == 0 {
				if err == nil || !strings.Contains(err.Error(), tt.note) || errors.Is(err, kv.ErrUnknownOutcome) != (tt.is != nil) {
					t.Errorf("got %+v, %v", res, err)
				}
				return
			}
			if err != nil || res.Version != tt.version || tt.note != "" && !hasNote(res, tt.note) {
				t.Errorf("got %+v, %v", res, err)
			}
		})
	}
}

// TestLateArrival: the promote is not there when the store is asked, and is applied
// before it is sent again.
func TestLateArrival(t *testing.T) {
	s := &everyFlip{Store: newStore()}
	pr := &probe{Store: s}
	var late []kv.Op
	pr.before = func(n int, ops []kv.Op) ([]kv.Op, error) {
		if n == 1 {
			late = ops
			return nil, errUnknown
		}
		return ops, nil
	}
	p := publisher(t, pr)
	before(p, AtPromoteAgain, func() {
		if _, err := s.Commit(t.Context(), late); err != nil {
			t.Error(err)
		}
	})
	if res := do(t, p, "mine\n"); !res.Resolved || res.Version != 1 || res.Attempts != 1 || res.Action != Published {
		t.Errorf("got %+v", res)
	}
	s.check(t, 1)
}

// clock is a Publisher's time, which passes only while it waits.
func clock(p *Publisher) *time.Time {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	p.Now = func() time.Time { return now }
	p.Wait = func(ctx context.Context, d time.Duration) error {
		now = now.Add(max(d, time.Millisecond))
		return ctx.Err()
	}
	return &now
}

func TestStoreAwayAfterTheFlip(t *testing.T) {
	for name, answers := range map[string]int{"comes back": 7, "stays away": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			s := &probe{Store: newStore()}
			doubt(s, 1, true)
			away := 0
			s.read = func(c kv.Consistency, _ []string) error {
				if s.commits > 0 {
					if c != kv.Consistent {
						t.Errorf("asked with consistency %d", c)
					}
					if away++; away <= answers {
						return errUnreachable
					}
				}
				return nil
			}
			p := publisher(t, s)
			now := clock(p)
			start := *now
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("mine\n")})
			if answers < 100 {
				if err != nil || !res.Resolved {
					t.Errorf("got %+v, %v", res, err)
				}
				return
			}
			var u *UnknownError
			if !errors.As(err, &u) || !errors.Is(err, kv.ErrUnknownOutcome) || u.Version != 1 {
				t.Fatalf("got %v", err)
			}
			m, perr := kv.ParseManifest(get1(t, s.Store, p.Layout.Manifest(hosts)).Value)
			if perr != nil || m.PublishID != u.PublishID || !strings.Contains(err.Error(), m.PublishID) ||
				!strings.Contains(err.Error(), p.Layout.Manifest(hosts)) {
				t.Errorf("%v does not tell how to find publish id %s", err, m.PublishID)
			}
			if asked := now.Sub(start); asked < 30*time.Second || asked > 35*time.Second {
				t.Errorf("asked for %v, want about 30s", asked)
			}
		})
	}
}

func TestUnknownAgainAndAgain(t *testing.T) {
	s := &probe{Store: newStore()}
	s.before = func(n int, ops []kv.Op) ([]kv.Op, error) {
		if n < 5 {
			return nil, errUnknown
		}
		return ops, nil
	}
	p := publisher(t, s)
	clock(p)
	if res := do(t, p, "mine\n"); res.Version != 1 || !res.Resolved || s.commits != 5 {
		t.Errorf("got %+v after %d commits", res, s.commits)
	}
}

func TestRefusedWhileAsking(t *testing.T) {
	s := &probe{Store: newStore()}
	doubt(s, 1, false)
	s.read = func(c kv.Consistency, _ []string) error {
		if c == kv.Consistent {
			return &kv.StoreError{Op: "read", Kind: kv.ErrDenied}
		}
		return nil
	}
	_, err := publisher(t, s).Publish(t.Context(), Request{Key: hosts, Content: []byte("mine\n")})
	if !errors.Is(err, kv.ErrUnknownOutcome) || !errors.Is(err, kv.ErrDenied) {
		t.Errorf("got %v, want unknown and its cause", err)
	}
}

func TestHistoryNeverWritten(t *testing.T) {
	s := &probe{Store: newStore(), before: func(int, []kv.Op) ([]kv.Op, error) { return nil, errUnknown }}
	p := publisher(t, s)
	_, err := p.Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1)})
	var c *Conflict
	if !errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrUnknownOutcome) || errors.As(err, &c) || s.commits != MaxAttempts {
		t.Errorf("got %v after %d commits", err, s.commits)
	}
}

func TestUnreachableIsNotUnknown(t *testing.T) {
	s := &probe{Store: newStore(), before: func(int, []kv.Op) ([]kv.Op, error) { return nil, errUnreachable }}
	_, err := publisher(t, s).Publish(t.Context(), Request{Key: hosts, Content: []byte("mine\n")})
	if !errors.Is(err, kv.ErrUnreachable) || errors.Is(err, kv.ErrUnknownOutcome) || s.commits != 1 {
		t.Errorf("got %v after %d commits", err, s.commits)
	}
}

// With --if-version an unknown history entry is no lost race.
func TestIfVersionAndUnknownHistory(t *testing.T) {
	s := &probe{Store: newStore()}
	doubt(s, 1, false)
	zero := uint64(0)
	res, err := publisher(t, s).Publish(t.Context(), Request{Key: hosts, Content: noise(300<<10, 1), IfVersion: &zero})
	if err != nil || res.Version != 1 || res.Attempts != 2 {
		t.Errorf("got %+v, %v", res, err)
	}
	var stopped *gate.Stopped
	put(t, s.Store, layout(t, "kvexpress").Stop(hosts), "x", 0)
	if _, err := publisher(t, s).Publish(t.Context(), Request{Key: hosts, Content: []byte("b"), IfVersion: &zero}); !errors.As(err,
		&stopped) {
		t.Errorf("stopped: %v", err)
	}
}
