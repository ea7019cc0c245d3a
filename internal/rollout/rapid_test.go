package rollout

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a fleet in which everything goes wrong. It keeps its own account of what may happen.
type world struct {
	*rapid.T
	fleet
	full     time.Duration            // when nodes were last admitted, or a stage began
	healthy  map[string]time.Duration // when a node last said that it is healthy
	failed   map[string]bool          // nodes that have said that they failed, as a controller saw it
	forgiven bool                     // an operator decided over failures: they do not count any more
	taken    bool                     // the rollout was taken over
	ever     map[string]bool          // nodes that any controller admitted
	locked   map[string]bool          // nodes that were locked at any time
}

func TestAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{T: t, healthy: map[string]time.Duration{}, failed: map[string]bool{}, locked: map[string]bool{},
			ever: map[string]bool{}}
		w.fleet = *newFleet(rapid.IntRange(1, 12).Draw(t, "nodes"))
		for i := range rapid.IntRange(0, 2).Draw(t, "stages before the last") {
			s := share([]string{"20%", "50%"}[i])
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				s = Stage{Count: 2 + i}
			}
			s.PauseBefore = i > 0 && rapid.IntRange(0, 3).Draw(t, "pause") == 0
			w.row.Plan.Stages = append(w.row.Plan.Stages, s)
		}
		w.row.Plan.Stages = append(w.row.Plan.Stages, share("100%"))
		for i := range w.row.Plan.Stages {
			s := &w.row.Plan.Stages[i]
			s.Bake = Duration(time.Duration(rapid.IntRange(0, 4).Draw(t, "bake")) * time.Second)
			s.MaxUnavailable = max(0, rapid.IntRange(-2, 3).Draw(t, "at a time"))
		}
		if most := rapid.IntRange(0, 2).Draw(t, "may fail"); most > 0 {
			w.row.Plan.MaxFailed = &most
		}
		if rapid.Bool().Draw(t, "halt") {
			w.row.Plan.OnFailure = Halt
		}
		if rapid.Bool().Draw(t, "gate") {
			w.row.Plan.Gates = []string{"dns"}
		}
		w.row.Plan.Timeout = Duration(20 * time.Second)
		t.Repeat(map[string]func(*rapid.T){
			"":         func(t *rapid.T) { w.once() },
			"time":     func(t *rapid.T) { w.w.Now += time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond },
			"reports":  func(t *rapid.T) { w.all(Healthy) },
			"reports2": func(t *rapid.T) { w.w.Now += time.Second; w.all(Healthy) },
			"a report": func(t *rapid.T) {
				w.says(w.any(), []HealthState{Installing, Healthy, Healthy, Failed, Frozen}[rapid.IntRange(0, 4).Draw(t, "state")])
			},
			"contact": func(t *rapid.T) { n := w.any(); n.Here = !n.Here },
			"lock":    func(t *rapid.T) { n := w.any(); n.Locked = !n.Locked; w.locked[n.Name] = true },
			"gate": func(t *rapid.T) {
				if w.row.Gate != "" {
					w.w.Gates[w.row.Gate] = GateResult{Done: true, Passed: rapid.IntRange(0, 3).Draw(t, "passes") > 0}
				}
			},
			"a new hub": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "really") == 0 {
					w.taken = true
					w.takeOver(fmt.Sprintf("hub#%d", w.row.Counter), rapid.Bool().Draw(t, "knows"))
				}
			},
			"the key": func(t *rapid.T) {
				w.w.Stopped = rapid.Bool().Draw(t, "stopped")
				w.w.Current = []Current{IsBase, IsBase, IsBase, IsBase, IsBase, Unknown, IsOther}[rapid.IntRange(0, 6).Draw(t, "current")]
			},
			"operator": func(t *rapid.T) {
				do := []func() (Row, error){w.row.Resume, func() (Row, error) { return w.row.Promote(false) },
					func() (Row, error) { return w.row.Pause("") }, func() (Row, error) { return w.row.Abort("") }}
				halted := w.row.State == Halted
				if row, err := do[min(3, rapid.IntRange(0, 9).Draw(t, "what")/3)](); err == nil {
					w.row, w.forgiven = row, w.forgiven || halted
				}
			},
		})
	})
}

func (w *world) any() *Node { return &w.w.Nodes[rapid.IntRange(0, len(w.w.Nodes)-1).Draw(w.T, "node")] }

// all nodes that get the candidate say that they are well; the others that they are back.
func (w *world) all(state HealthState) {
	for i := range w.w.Nodes {
		if n := &w.w.Nodes[i]; n.Health.State != Failed {
			w.says(n, state)
		}
	}
}

func (w *world) says(n *Node, state HealthState) {
	offered := w.row.State.Offers() && w.m.Admitted[n.Name] && w.row.Controller == w.hub
	switch {
	case !n.Here:
		return
	case !offered && n.On == "":
		return
	case !offered:
		if !w.row.State.Ended() && !w.row.State.Offers() {
			n.On, n.Health = "", Health{State: Back}
		}
		return
	}
	if n.Health.State == Failed {
		state = Failed
	}
	n.On, n.Heard, n.Health = w.row.ID, w.w.Now, Health{State: state, Reason: "check", Ask: w.m.Ask}
	if state == Healthy {
		w.healthy[n.Name] = w.w.Now
	}
}

// once is one step, and what must be true of it.
func (w *world) once() {
	was, before := w.row, w.m
	wasAdmitted := maps.Clone(w.m.Admitted)
	m, o := Step(w.row, w.m, w.w, w.hub)
	if !maps.Equal(wasAdmitted, before.Admitted) {
		w.Fatal("the step changed the memory that it was given")
	}
	if o.Write && rapid.IntRange(0, 9).Draw(w.T, "write fails") == 0 {
		return
	}
	if w.m = m; o.Write {
		w.row = o.Row
	}
	if o.RunGate != "" {
		delete(w.w.Gates, o.RunGate)
	}
	w.steps(was, before, o)
	if o.Promote {
		w.promotes(was)
	}
}

func (w *world) steps(was Row, before Memory, o Orders) {
	var admitted []string
	for name := range w.m.Admitted {
		if !before.Admitted[name] && !w.ever[name] {
			admitted = append(admitted, name)
		}
	}
	fresh := before.Rollout == ""
	switch {
	case w.row.Counter < was.Counter, o.Write && w.row.Counter != was.Counter+1:
		w.Fatal("the counter does not count")
	case was.State.Ended() && (o.Write || o.Promote || o.Withdraw != nil):
		w.Fatal("an ended rollout moves")
	case was.Threshold.After(w.row.Threshold):
		w.Fatalf("the threshold fell from %v to %v", was.Threshold, w.row.Threshold)
	case len(admitted) > 0 && (was.State != Running || w.w.Stopped || w.w.Current != IsBase):
		w.Fatalf("%v admitted in state %s, stopped %v, the key is %q", admitted, was.State, w.w.Stopped, w.w.Current)
	case o.Promote && (w.w.Stopped || w.w.Current != IsBase || was.State != Running):
		w.Fatal("promoted")
	case w.row.State.Ended() && !was.State.Ended() && (o.Withdraw == nil) != (w.row.State == Promoted):
		w.Fatalf("%s, withdrawn: %v", w.row.State, o.Withdraw)
	case w.row.State.Ended() && !was.State.Ended() && w.row.State != Promoted && was.State != Reverting && w.w.Current == IsBase &&
		len(w.m.Admitted) > 0:
		w.Fatal("it ended before its nodes went back")
	}
	for name := range w.m.Admitted {
		w.ever[name] = true
	}
	for _, name := range admitted {
		if n := w.named(name); !n.Here || n.Locked {
			w.Fatalf("%s is admitted", name)
		}
	}
	for _, n := range w.w.Nodes {
		if n.Health.State == Failed && w.m.Admitted[n.Name] && w.w.Current == IsBase && !w.w.Stopped && !n.Locked {
			w.failed[n.Name] = true
		}
	}
	if len(admitted) > 0 || w.row.Stage != was.Stage && !w.row.State.Ended() {
		w.full = w.w.Now
	}
	if len(admitted) == 0 {
		return
	}
	stage := w.row.Plan.Stages[w.m.Stage]
	sick := 0
	for name := range w.m.Admitted {
		if !w.well(name) {
			sick++
		}
	}
	if most := stage.MaxUnavailable; most > 0 && sick > most && !fresh && !w.taken && !w.forgiven && len(w.locked) == 0 {
		w.Fatalf("%d admitted nodes are not healthy, %d may", sick, most)
	}
	if !w.taken {
		in := 0
		for _, p := range w.m.Order {
			if w.m.Admitted[p.Name] {
				in++
			}
		}
		want := 0
		for _, stage := range w.row.Plan.Stages[:w.m.Stage+1] {
			want = max(want, stage.Count, stage.Share.Of(w.row.Counted))
		}
		if before := was.Admitted; in > max(want, before, 1) {
			w.Fatalf("%d nodes in the stage, %d wanted, %d were in", in, want, before)
		}
	}
}

// well: the node said so lately.
func (w *world) well(name string) bool {
	at, ok := w.healthy[name]
	n := w.named(name)
	return ok && n.Health.State == Healthy && w.w.Now-at < Silence
}

// promotes: each admitted node said that it is healthy, after it had all of the last bake to fall ill.
func (w *world) promotes(was Row) {
	bad := 0
	bake := time.Duration(w.row.Plan.Stages[len(w.row.Plan.Stages)-1].Bake)
	for name := range w.ever {
		if n := w.named(name); n.On != w.row.ID && !w.m.Admitted[name] {
			continue // it never began
		}
		if at, ok := w.healthy[name]; !w.locked[name] && (w.failed[name] || !ok || at < w.full+bake) {
			bad++
		}
	}
	if !w.forgiven && bad == len(w.ever) && len(w.locked) == 0 {
		w.Fatal("promoted without a healthy node")
	}
	if !w.forgiven && bad > w.row.Plan.MaxFailures(w.row.Counted) {
		w.Fatalf("promoted, and %d nodes are not healthy", bad)
	}
}

func (w *world) named(name string) *Node {
	for i := range w.w.Nodes {
		if w.w.Nodes[i].Name == name {
			return &w.w.Nodes[i]
		}
	}
	return nil
}
