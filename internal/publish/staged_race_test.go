package publish

import (
	"context"
	"errors"
	"slices"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// A token from before rollouts publishes as it did, above the numbers of candidates. With stages it is refused.
func TestRolloutDenied(t *testing.T) {
	p := canary(t)
	candidate := begin(t, p, "two\n")
	old := publisher(t, denying{p.Store, p.Layout.Rollout(hosts)})
	if _, err := old.Publish(t.Context(), Request{Key: hosts, Content: []byte("three\n")}); !errors.Is(err, kv.ErrDenied) {
		t.Errorf("with stages: %v", err)
	}
	remove(t, p.Store, p.Layout.Policy(hosts))
	if res := do(t, old, "three\n"); res.Action != Published || res.Version != candidate.Version+1 {
		t.Errorf("without: %+v", res)
	}
	if m := pastVersions(t, p.Store, p.Layout, hosts)[2]; m.SHA256 != candidate.SHA256 {
		t.Errorf("version 2 is %+v, not the candidate", m)
	}
}

// A publish that read before a rollout began takes another number than its candidate.
func TestRolloutBeginsMeanwhile(t *testing.T) {
	for name, content := range map[string][]byte{"small": []byte("now\n"), "large": noise(kv.MaxStored, 2)} {
		t.Run(name, func(t *testing.T) {
			p := canary(t)
			other := publisher(t, p.Store)
			remove(t, p.Store, p.Layout.Policy(hosts))
			var candidate Result
			before(p, AtPromote, func() {
				setPolicy(t, other, staged())
				candidate = begin(t, other, "two\n")
				remove(t, p.Store, p.Layout.Policy(hosts))
			})
			res, err := p.Publish(t.Context(), Request{Key: hosts, Content: content})
			if err != nil || res.Version == candidate.Version || rowOf(t, p).State != rollout.Superseded {
				t.Fatalf("%+v, %v, row %+v", res, err, rowOf(t, p))
			}
			mustBeLive(t, p.Store, p.Layout, hosts, res, content)
			if m := pastVersions(t, p.Store, p.Layout, hosts)[candidate.Version]; m.SHA256 != candidate.SHA256 {
				t.Errorf("version %d is %+v", candidate.Version, m)
			}
		})
	}
}

// A rollout begins only if all that was read still holds.
func TestRolloutRaced(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, p *Publisher){
		"1.x wrote data":  func(t *testing.T, p *Publisher) { oldWrite(t, p.Store, p.Layout, hosts, "theirs\n") },
		"policy":          func(t *testing.T, p *Publisher) { setPolicy(t, p, rollout.Policy{}) },
		"another rollout": func(t *testing.T, p *Publisher) { begin(t, p, "other\n") },
	} {
		t.Run(name, func(t *testing.T) {
			p := canary(t)
			other := publisher(t, p.Store)
			before(p, AtPromote, func() { change(t, other) })
			if res := do(t, p, "two\n"); res.Attempts < 2 {
				t.Errorf("%+v", res)
			}
		})
	}
	p := canary(t)
	before(p, AtPromote, func() { put(t, p.Store, p.Layout.Stop(hosts), "why", 0) })
	if _, err := p.Publish(t.Context(), Request{Key: hosts, Content: []byte("two\n")}); !isA[*gate.Stopped](err) {
		t.Errorf("a stop: %v", err)
	}
}

// If the answer is lost, the row tells whether the rollout began.
func TestRolloutUnknown(t *testing.T) {
	for name, applied := range map[string]bool{"applied": true, "not applied": false} {
		t.Run(name, func(t *testing.T) {
			s := &probe{Store: newStore()}
			p := publisher(t, s)
			do(t, p, "one\n")
			setPolicy(t, p, staged())
			if applied {
				s.after = func(int, []kv.Op, error) error { s.after = nil; return errUnknown }
			} else {
				s.before = func(_ int, ops []kv.Op) ([]kv.Op, error) { s.before = nil; return nil, errUnknown }
			}
			if res := begin(t, p, "two\n"); !res.Resolved || res.Attempts != 1 || rowOf(t, p).ID != res.Rollout {
				t.Errorf("%+v, row %+v", res, rowOf(t, p))
			}
		})
	}
}

// Begin is asked first, and its error publishes nothing.
func TestRolloutBegin(t *testing.T) {
	p := canary(t)
	refusal := errors.New("no hub")
	asked := 0
	req := Request{Key: hosts, Content: []byte("two\n"), Begin: func(_ context.Context, plan rollout.Plan, open *rollout.Row) error {
		asked++
		if len(plan.Stages) != 2 || open != nil {
			t.Errorf("asked with %+v, %+v", plan, open)
		}
		return refusal
	}}
	if _, err := p.Publish(t.Context(), req); !errors.Is(err, refusal) || asked != 1 {
		t.Errorf("got %v", err)
	}
	if row := get1(t, p.Store, p.Layout.Rollout(hosts)); row.State != kv.Absent {
		t.Errorf("the row is %s", row.Value)
	}
	refusal = ErrReadAgain
	if _, err := p.Publish(t.Context(), req); !errors.Is(err, kv.ErrConflict) || asked != 1+MaxAttempts {
		t.Errorf("got %v after %d", err, asked)
	}
}

// A publish without stages makes as many requests as before there were rollouts, whatever the last rollout was.
func TestPlainPublishRequests(t *testing.T) {
	p := publisher(t, newStore())
	do(t, p, "one\n")
	check := func(text string) {
		t.Helper()
		var points []Point
		p.Fault = func(at Point) error { points = append(points, at); return nil }
		do(t, p, text)
		p.Fault = nil
		if want := []Point{AtRead, AtHistoryList, AtPromote, AtNotify}; !slices.Equal(points, want) {
			t.Errorf("it makes %q, want %q", points, want)
		}
	}
	check("two\n")
	setPolicy(t, p, staged())
	begin(t, p, "three\n")
	if err := promote(t, p); err != nil {
		t.Fatal(err)
	}
	setPolicy(t, p, rollout.Policy{})
	check("four\n")
}
