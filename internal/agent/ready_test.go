package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/outcome"
)

func TestReady(t *testing.T) {
	loaded := ConfigStatus{Loaded: time.Now()}
	away := StoreStatus{Error: "connection refused"}
	target := func(state outcome.Outcome, c Counts) TargetStatus {
		return TargetStatus{Key: "hosts", File: "/f", Outcome: state, Counts: c}
	}
	counted := func(reasons ...string) Counts {
		c := Counts{Reconciles: 3, Refusals: map[string]uint64{}}
		for _, reason := range reasons {
			c.Refusals[reason]++
		}
		return c
	}
	good := target(outcome.Unreachable, Counts{})
	good.Good = new(time.Time)
	for _, tt := range []struct {
		name string
		s    Status
		want string // in the reason; "" for ready
	}{
		{"nothing is loaded", Status{}, "loaded"},
		{"no targets", Status{Config: loaded}, ""},
		{"starting", Status{Config: loaded, Targets: []TargetStatus{target(outcome.Starting, Counts{})}}, "hosts: /f"},
		{"away from the start", Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, Counts{})}},
			"connection refused"},
		{"away from the start, tried often",
			Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, counted("unreachable"))}}, "connection refused"},
		{"away after a good pass", Status{Config: loaded, Store: away, Targets: []TargetStatus{good}}, ""},
		{"away after a stop", Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, counted("stopped"))}}, ""},
		{"away after a stop, and before",
			Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, counted("unreachable", "stopped"))}}, ""},
		{"away after a failed exec", Status{Config: loaded, Store: away, Targets: []TargetStatus{target(outcome.Unreachable, Counts{ExecFail: 1})}},
			""},
		{"one of two", Status{Config: loaded, Targets: []TargetStatus{target(outcome.Converged, Counts{}), target(outcome.Starting, Counts{})}},
			"hosts: /f"},
	} {
		err := Ready(tt.s)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, state := range outcome.Reported() {
		if state == outcome.Starting || state == outcome.Unreachable {
			continue
		}
		if err := Ready(Status{Config: loaded, Targets: []TargetStatus{target(state, Counts{})}}); err != nil {
			t.Errorf("%s: %v", state, err)
		}
	}
	many := Status{Config: loaded}
	for range 1000 {
		many.Targets = append(many.Targets, target(outcome.Starting, Counts{}))
	}
	if lines := strings.Split(Ready(many).Error(), "\n"); len(lines) != maxReasons+1 || !strings.Contains(lines[maxReasons], "950") {
		t.Errorf("%d lines, the last one is %q", len(lines), lines[len(lines)-1])
	}
}

// nowhere is a store that nothing asks.
type nowhere struct{ Store }

func (nowhere) Addr() string { return "" }

// However many commands fail, a status stays small.
func TestStatusHoldsSoMuchOutput(t *testing.T) {
	a := &Agent{source: newStoreSource([]Store{nowhere{}}, nil, patience, slog.New(slog.DiscardHandler))}
	for range 1000 {
		a.running = append(a.running, &runner{target: &target{status: TargetStatus{
			Check: strings.Repeat("x", command.MaxOutput), Exec: &ExecStatus{Output: strings.Repeat("x", command.MaxOutput)},
		}}})
	}
	total := 0
	for _, s := range a.Status().Targets {
		total += len(s.Check) + len(s.Exec.Output)
	}
	if total > maxOutputs || total < maxOutputs/2 {
		t.Errorf("%d bytes of output", total)
	}
}
