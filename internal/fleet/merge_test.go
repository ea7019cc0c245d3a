package fleet

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/outcome"
)

func files(r Receipt) []string {
	var all []string
	for _, t := range r.Targets {
		all = append(all, t.By+" "+t.File)
	}
	return all
}

func of(by, file string) Target {
	return Target{By: by, Key: "hosts", File: file, Outcome: outcome.Converged}
}

// The agent writes its targets, each `out` one; none drops the targets of another.
func TestMergeOfAgentAndOuts(t *testing.T) {
	agent := &Agent{Version: "2.0.0", Every: Millis(time.Minute)}
	r := merge(Receipt{}, Receipt{Sent: start(), Agent: agent, Targets: []Target{of(ByAgent, "/b"), of(ByAgent, "/a")}}, nil, start())
	r = merge(r, Receipt{Sent: start(), Targets: []Target{of(ByOut, "/z")}}, nil, start())
	r = merge(r, Receipt{Sent: start(), Targets: []Target{of(ByOut, "/c")}}, nil, start())
	if want := []string{"agent /a", "agent /b", "out /c", "out /z"}; !slices.Equal(files(r), want) || r.Agent == nil {
		t.Fatalf("%v, %+v", files(r), r.Agent)
	}
	// An agent that has other targets now; one of them was an out's.
	r = merge(r, Receipt{Sent: start(), Agent: agent, Targets: []Target{of(ByAgent, "/b"), of(ByAgent, "/c")}}, nil, start())
	if want := []string{"agent /b", "agent /c", "out /z"}; !slices.Equal(files(r), want) {
		t.Fatalf("%v", files(r))
	}
	// An out does not change the number of omitted targets.
	r.Omitted = 7
	if out := merge(r, Receipt{Sent: start(), Targets: []Target{of(ByOut, "/z")}}, nil, start()); out.Omitted != 7 {
		t.Errorf("an out makes %d omitted targets of 7", out.Omitted)
	}
	if again := merge(r, Receipt{Sent: start(), Agent: agent}, nil, start()); again.Omitted != 0 {
		t.Errorf("an agent that has room omits %d", again.Omitted)
	}
}

func TestCarry(t *testing.T) {
	placed := &Placed{Age: Millis(time.Minute), Steps: Steps{Install: Millis(time.Second)}}
	before := Target{By: ByAgent, Key: "hosts", File: "/h", Lineage: "l", Version: 3, SHA256: "x", Outcome: outcome.Converged,
		Since: Millis(time.Hour), Placed: placed}
	change := func(f func(*Target)) Target {
		now := Target{By: ByAgent, Key: "hosts", File: "/h", Lineage: "l", Version: 3, SHA256: "x", Outcome: outcome.Converged}
		f(&now)
		return now
	}
	for name, tt := range map[string]struct {
		now           Target
		version       uint64
		placed, first bool
	}{
		"after a restart":        {change(func(*Target) {}), 3, true, false},
		"by an out":              {change(func(t *Target) { t.By = ByOut }), 3, true, false},
		"held back at the start": {change(func(t *Target) { t.Outcome, t.Version, t.Lineage = outcome.Stopped, 0, "" }), 3, true, false},
		"nothing is known":       {change(func(t *Target) { t.Version, t.Lineage, t.SHA256 = 0, "", "" }), 0, false, false},
		"a new version":          {change(func(t *Target) { t.Version, t.SHA256 = 4, "y" }), 4, false, false},
		"the same bytes, newer":  {change(func(t *Target) { t.Version = 4 }), 4, false, false},
		"another lineage":        {change(func(t *Target) { t.Lineage = "m" }), 3, false, false},
		"another key":            {change(func(t *Target) { t.Key, t.Version = "other", 0 }), 0, false, false},
		"changed by hand":        {change(func(t *Target) { t.SHA256, t.Version = "y", 0 }), 0, false, false},
		"it knows better":        {change(func(t *Target) { t.Placed = &Placed{First: true} }), 3, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			old := Receipt{Node: "web-1", Sent: start(), Targets: []Target{before}}
			part := Receipt{Sent: start().Add(time.Second), Targets: []Target{tt.now}, Agent: &Agent{}}
			r := merge(old, part, nil, start().Add(time.Second))
			got := r.Targets[0]
			if len(r.Targets) != 1 || got.Version != tt.version || (got.Placed != nil) != tt.placed {
				t.Fatalf("%+v", got)
			}
			if got.Placed != nil && (got.Placed.First != tt.first || !tt.first && got.Placed.Age != Millis(61*time.Second)) {
				t.Errorf("%+v", got.Placed)
			}
			if before.Placed.Age != Millis(time.Minute) {
				t.Error("the old receipt was changed")
			}
		})
	}
}

// A stopped or locked run keeps the state of the exec.
func TestCarryKeepsThePendingExec(t *testing.T) {
	before := has(5).but(func(t *Target) { t.Outcome, t.ExecPending, t.Exec = outcome.Pending, true, &Exec{Exit: 3} })
	for state, want := range map[outcome.Outcome]bool{outcome.Stopped: true, outcome.Locked: true, outcome.Failed: true, outcome.Denied: true,
		outcome.Converged: false} {
		now := has(5).but(func(t *Target) { t.Outcome, t.Version, t.Lineage = state, 0, "" })
		carry(&now, before)
		if now.ExecPending != want || now.Version != 5 || want != (now.Exec != nil) {
			t.Errorf("%s: %+v", state, now)
		}
	}
	other := has(4).but(func(t *Target) { t.Outcome = outcome.Stopped })
	if carry(&other, before); other.ExecPending {
		t.Errorf("other bytes: %+v", other)
	}
}

// Whatever a clock does between two receipts: nothing grows younger, and the
// written can be read.
func TestTimePasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := Receipt{Node: "web-1", Sent: start(), Targets: rapid.SliceOfN(drawnTargets(), 0, 5).Draw(t, "old"),
			Agent: &Agent{Every: Millis(time.Minute), Age: lengths().Draw(t, "age"),
				Outage: &Outage{Ended: lengths().Draw(t, "ended"), Lasted: 7}}}
		before, _ := json.Marshal(old)
		passed := time.Duration(rapid.Int64().Draw(t, "passed"))
		was := old.At(start())
		r := merge(old, Receipt{Node: "web-1", Sent: start(), Targets: []Target{{By: ByOut, File: "/new"}}}, nil, start().Add(passed))
		if r.Agent.Outage.Lasted != 7 {
			t.Fatal("the length of the outage has changed")
		}
		if after, _ := json.Marshal(old); string(after) != string(before) {
			t.Fatal("the old receipt was changed")
		}
		value, flags, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseReceipt("web-1", value, flags)
		if err != nil {
			t.Fatalf("after %s: %v", passed, err)
		}
		least := time.Duration(0)
		if passed > 0 && passed < century {
			least = passed
		}
		within := func(what string, now, before Millis) {
			if want := min(before+Millis(least), Millis(century)); now+Millis(time.Microsecond) < want {
				t.Fatalf("%s was %s, and is %s after %s", what, time.Duration(before), time.Duration(now), passed)
			}
		}
		within("the agent's age", got.Agent.Age, was.Agent.Age)
		within("the end of the outage", got.Agent.Outage.Ended, was.Agent.Outage.Ended)
		for _, now := range got.Targets {
			i := slices.IndexFunc(was.Targets, func(t Target) bool {
				return t.File == now.File && t.SHA256 == now.SHA256 && t.Since <= now.Since+Millis(time.Microsecond)
			})
			if now.File != "/new" && i < 0 {
				t.Fatalf("%+v grew younger, after %s", now, passed)
			}
		}
	})
}

// An out reports every change, and nothing twice.
func TestSame(t *testing.T) {
	a := Target{By: ByOut, Key: "k", File: "/f", Lineage: "l", Version: 1, SHA256: "x", Outcome: outcome.Refused, Reason: "empty",
		Detail: "d", ExecPending: true, Candidate: true, Exec: &Exec{Exit: 1, Failures: 2}}
	b := a
	b.Exec = &Exec{Exit: 1, Failures: 2}
	b.Since, b.Placed = Millis(time.Hour), &Placed{}
	if !Same(a, b) || !Same(Target{}, Target{}) {
		t.Error("the same is not the same later")
	}
	v := reflect.TypeFor[Target]()
	for i := range v.NumField() {
		name := v.Field(i).Name
		if name == "Since" || name == "Placed" {
			continue
		}
		c := a
		reflect.ValueOf(&c).Elem().Field(i).SetZero()
		if Same(a, c) || Same(c, a) {
			t.Errorf("another %s is the same", name)
		}
	}
	b.Exec.Failures++
	if Same(a, b) {
		t.Error("another failure of the exec is the same")
	}
}
