package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

func TestReady(t *testing.T) {
	loaded := ConfigStatus{Loaded: time.Now()}
	unreachable := StoreStatus{Error: "connection refused"}
	target := func(o outcome.Outcome) TargetStatus {
		return TargetStatus{Key: "hosts", File: "/f", Outcome: o, answered: o != outcome.Starting && o != outcome.Unreachable}
	}
	later := target(outcome.Unreachable)
	later.answered = true
	now := time.Now()
	old := now.Add(-3 * time.Minute)
	for _, tt := range []struct {
		name string
		s    Status
		want string // in the reason; "" for ready
	}{
		{"nothing is loaded", Status{}, "loaded"},
		{"no targets", Status{Config: loaded}, ""},
		{"starting", Status{Config: loaded, Targets: []TargetStatus{target(outcome.Starting)}}, "hosts: /f"},
		{"unreachable from the start", Status{Config: loaded, Store: unreachable, Targets: []TargetStatus{target(outcome.Unreachable)}},
			"connection refused"},
		{"unreachable later", Status{Config: loaded, Store: unreachable, Targets: []TargetStatus{later}}, ""},
		{"no contact", Status{Config: loaded, Contact: &old, Targets: []TargetStatus{target(outcome.Converged)}}, "no contact with the store for 3m"},
		{"one of two", Status{Config: loaded, Targets: []TargetStatus{target(outcome.Converged), target(outcome.Starting)}},
			"hosts: /f"},
	} {
		if tt.s.Started.IsZero() {
			tt.s.Started = now
		}
		err := Ready(tt.s, now)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	many := Status{Config: loaded, Started: now}
	for range 1000 {
		many.Targets = append(many.Targets, target(outcome.Starting))
	}
	if lines := strings.Split(Ready(many, now).Error(), "\n"); len(lines) != maxReasons+1 || !strings.Contains(lines[maxReasons], "950") {
		t.Errorf("%d lines, the last one is %q", len(lines), lines[len(lines)-1])
	}
}

// An outage that begins after the first answer leaves the agent ready. Every other outcome is an answer.
func TestAnswered(t *testing.T) {
	for _, o := range outcome.Reported() {
		r := testTarget(nowhere{}, install.Target{})
		r.enter(o, nil, time.Now())
		if want := o != outcome.Unreachable; r.snapshot().answered != want {
			t.Errorf("%s: answered is not %t", o, want)
		}
		r.enter(outcome.Failed, nil, time.Now())
		r.enter(outcome.Unreachable, nil, time.Now())
		if !r.snapshot().answered {
			t.Errorf("%s: an outage takes back the answer", o)
		}
	}
}

// nowhere is a store that gets no request.
type nowhere struct{ Store }

func (nowhere) Addr() string { return "" }

// However many commands fail, a status stays small.
func TestStatusHoldsSoMuchOutput(t *testing.T) {
	a := &Agent{source: newStoreSource([]Store{nowhere{}}, nil, patience, slog.New(slog.DiscardHandler))}
	for range 1000 {
		a.running = append(a.running, &target{status: TargetStatus{
			Check: strings.Repeat("x", command.MaxOutput), Exec: &ExecStatus{Output: strings.Repeat("x", command.MaxOutput)},
		}})
	}
	total := 0
	for _, s := range a.Status().Targets {
		total += len(s.Check) + len(s.Exec.Output)
	}
	if total > maxOutputs || total < maxOutputs/2 {
		t.Errorf("%d bytes of output", total)
	}
}
