package publish

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// rules puts a policy into the store.
func rules(t testing.TB, s kv.Store, p rollout.Policy) {
	t.Helper()
	value, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, layout(t, "kvexpress").Policy(hosts), string(value), 0)
}

func percent(t testing.TB, text string) (p gate.Percent) {
	t.Helper()
	if err := p.Set(text); err != nil {
		t.Fatal(err)
	}
	return p
}

// A policy counts whatever the request says, and a stricter request counts as well.
func TestPolicy(t *testing.T) {
	ten := strings.Repeat("line\n", 10)
	for name, c := range map[string]struct {
		policy  rollout.Policy
		request Request
		reason  gate.Reason // "": published
	}{
		"none":                   {rollout.Policy{}, Request{Content: []byte("one\n")}, ""},
		"enough lines":           {rollout.Policy{Content: rollout.Content{MinLines: 5}}, Request{Content: []byte(ten[:25])}, ""},
		"too few lines":          {rollout.Policy{Content: rollout.Content{MinLines: 5}}, Request{Content: []byte(ten[:20])}, gate.TooShort},
		"too few for the flag":   {rollout.Policy{Content: rollout.Content{MinLines: 1}}, Request{Content: []byte(ten[:20]), MinLines: 5}, gate.TooShort},
		"shrinks a little":       {rollout.Policy{Content: rollout.Content{MaxShrink: percent(t, "20")}}, Request{Content: []byte(ten[:40])}, ""},
		"shrinks":                {rollout.Policy{Content: rollout.Content{MaxShrink: percent(t, "20")}}, Request{Content: []byte(ten[:35])}, gate.Changed},
		"shrinks, with a flag":   {rollout.Policy{Content: rollout.Content{MaxShrink: percent(t, "20")}}, Request{Content: []byte(ten[:35]), Limits: gate.Limits{Shrink: percent(t, "90")}}, gate.Changed},
		"shrinks, by a flag":     {rollout.Policy{Content: rollout.Content{MaxShrink: percent(t, "90")}}, Request{Content: []byte(ten[:35]), Limits: gate.Limits{Shrink: percent(t, "20")}}, gate.Changed},
		"changes":                {rollout.Policy{Content: rollout.Content{MaxChange: percent(t, "20")}}, Request{Content: []byte(strings.ToUpper(ten))}, gate.Changed},
		"without a message":      {rollout.Policy{RequireMessage: true}, Request{Content: []byte("one\n")}, gate.NoMessage},
		"with a message":         {rollout.Policy{RequireMessage: true}, Request{Content: []byte("one\n"), Message: "why"}, ""},
		"the same, no message":   {rollout.Policy{RequireMessage: true}, Request{Content: []byte(ten)}, ""},
		"went back, and shrinks": {rollout.Policy{Content: rollout.Content{MaxShrink: percent(t, "20")}}, Request{Content: []byte("one\n"), past: true}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			p := publisher(t, s)
			do(t, p, ten)
			rules(t, s, c.policy)
			c.request.Key = hosts
			_, err := p.Publish(t.Context(), c.request)
			var r *gate.Refusal
			if errors.As(err, &r) != (c.reason != "") || r != nil && r.Reason != c.reason || r == nil && err != nil {
				t.Errorf("%v, want %q", err, c.reason)
			}
		})
	}
}

// A policy that cannot be read, or not be understood, is never none.
func TestPolicyUnknown(t *testing.T) {
	l := layout(t, "kvexpress")
	for name, text := range map[string]string{
		"a later format": `{"format":2}`, "a later rule": `{"format":1,"quorum":[]}`, "a bad value": `{"format":1,"content":{"max_shrink":"much"}}`,
		"not JSON": "min_lines: 5", "empty": "", "too large": `{"format":1,"require_message":true` + strings.Repeat(" ", rollout.MaxPolicy) + "}",
	} {
		s := newStore()
		put(t, s, l.Policy(hosts), text, 0)
		var r *gate.Refusal
		if _, err := publisher(t, s).Publish(t.Context(), Request{Key: hosts, Content: []byte("one\n")}); !errors.As(err, &r) || r.Reason != gate.NeedsNewer {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := embedded.New(embedded.Deny(func(path string, _ bool) bool { return path == l.Policy(hosts) }))
	if _, err := publisher(t, s).Publish(t.Context(), Request{Key: hosts, Content: []byte("one\n")}); !errors.Is(err, kv.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
}

// A policy that is changed while a publish runs counts for it.
func TestPolicyChangedMeanwhile(t *testing.T) {
	s := &probe{Store: newStore()}
	rules(t, s.Store, rollout.Policy{Content: rollout.Content{MinLines: 1}})
	s.before = func(n int, ops []kv.Op) ([]kv.Op, error) {
		if n == 1 {
			rules(t, s.Store, rollout.Policy{Content: rollout.Content{MinLines: 5}})
		}
		return ops, nil
	}
	var r *gate.Refusal
	if _, err := publisher(t, s).Publish(t.Context(), Request{Key: hosts, Content: []byte("one\n")}); !errors.As(err, &r) || r.Reason != gate.TooShort {
		t.Error(err)
	}
}

// History keeps the newest versions, and those of the last days; at most 16 MiB of them.
func TestPolicyOfHistory(t *testing.T) {
	for name, c := range map[string]struct {
		history rollout.History
		size    int // of a version, which does not compress
		every   time.Duration
		kept    int // of 30, at least; each publish removes some, until as many are left
	}{
		"no policy":        {rollout.History{}, 10, time.Hour, 10},
		"more versions":    {rollout.History{Versions: 15}, 10, time.Hour, 15},
		"days":             {rollout.History{Days: 1}, 10, time.Hour, 24},
		"few in the days":  {rollout.History{Days: 1}, 10, 12 * time.Hour, 10},
		"days or versions": {rollout.History{Versions: 20, Days: 1}, 10, 12 * time.Hour, 20},
		"large ones":       {rollout.History{Versions: 1000, Days: 1000}, 300 << 10, time.Hour, 30},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			p := publisher(t, s)
			now := p.Now()
			p.Now = func() time.Time { return now }
			if c.history != (rollout.History{}) {
				rules(t, s, rollout.Policy{History: c.history})
			}
			for n := range 30 {
				now = now.Add(c.every)
				if _, err := p.Publish(t.Context(), Request{Key: hosts, Content: append(noise(c.size, uint64(n)), fmt.Sprint(n)...)}); err != nil {
					t.Fatal(err)
				}
			}
			var numbers []uint64
			for n := range pastVersions(t, s, p.Layout, hosts) {
				numbers = append(numbers, n)
			}
			if slices.Sort(numbers); len(numbers) != c.kept || numbers[0] != uint64(31-c.kept) {
				t.Errorf("kept are %v", numbers)
			}
		})
	}
	if n := (rollout.History{Versions: 1000}).Keep(1 << 20); n != 16 {
		t.Errorf("of 1 MiB each, %d are kept", n)
	}
	if (rollout.History{Days: 9}).Young(time.Now(), time.Now(), 16, 1<<20) {
		t.Error("a seventeenth of 1 MiB is kept for its age")
	}
}
