package rollout

import (
	"maps"
	"time"
)

// Times of a rollout.
const (
	// Heartbeat is how often the controller writes the row at least.
	Heartbeat = time.Second
	// TakeOver is how long the counter of an open row must stand still before another hub takes the rollout over.
	TakeOver = 4 * time.Second
	// Unheard is after how long an admitted node that never reported counts as one that never had the candidate, on the way back.
	Unheard = 2 * time.Second
	// Silence is how long a node may send no report before it is unavailable.
	Silence = 10 * time.Second
	// StaleAfter is how long, beyond the timeout of its plan, no hub may have moved a row before it needs a person.
	StaleAfter = time.Minute
)

// World is what the controller sees at one moment.
type World struct {
	Now     time.Duration // of a monotonic clock
	Nodes   []Node        // sorted by name
	Current Current
	Stopped bool                  // the key is stopped: nothing moves
	Damaged string                // why no node can get the candidate; "": all can
	Denied  string                // why the store does not let the candidate become current now; "": it may
	Gates   map[string]GateResult // of the runs that this controller ordered; an order to run a gate deletes its old result
	// Admitted are the nodes that the controllers before admitted, as far as this hub knows. They count when it is claimed.
	Admitted map[string]bool
	// Stale: no hub moved the row for its timeout and StaleAfter. It counts when the rollout is claimed.
	Stale bool
}

// Current says what the key holds, compared with the row.
type Current string

// What the key holds.
const (
	IsBase      Current = "base"
	IsCandidate Current = "candidate" // promoted, or another publisher published the same bytes
	IsOther     Current = "other"
	IsGone      Current = "gone"
	Unknown     Current = "" // the store cannot be read: nothing is decided
)

// GateResult is what a gate said. The zero value: it has not ended.
type GateResult struct {
	Done, Passed bool
	Detail       string // for people
}

// Memory is what a controller remembers of a rollout between two steps. The zero value belongs to a hub that just took it over.
type Memory struct {
	Rollout string // its ID
	State   State  // of the row after the last step
	Stopped bool   // at the last step

	Stage int
	Order []Placed // the nodes that the stage counts, in their order; nil: the stage is not open
	Want  int      // how many of them it has, those of the stages before included
	Full  bool     // all of them are admitted
	Left  []LeftOut

	// Admitted are the nodes that get the candidate. A hub offers it to no others.
	Admitted map[string]bool
	Owed     int                   // how many nodes were admitted, by all controllers: others come with the candidate, or failed
	Lost     int                   // of them, those that never came: they failed
	Failed   map[string]FailedNode // for good
	Forgiven map[string]bool       // they failed before an operator resumed a halted rollout
	Seen     map[string]bool       // nodes that have been healthy: each is progress once
	Ran      map[string]bool       // gates that were ordered in this stage

	Progress time.Duration // when something last went forward, for the timeout; a bake does not count
	Raised   time.Duration // when nodes were last admitted: silence counts from here
	Earlier  bool          // some were admitted before: a late report of theirs may be of a time before Raised
	Wrote    time.Duration // when the row was last written
	Baking   bool
	BakeFrom time.Duration
	// Ask is the last question; nodes answer it with a Health of this number or above. A hub repeats it to a node that connects
	// again.
	Ask   uint64
	Asked bool // the bake is over, and the answers to Ask are awaited
}

// Placed is a counted node and its place in the order.
type Placed struct {
	Name string
	At   Threshold
}

// Orders are what the hub does after a step.
type Orders struct {
	Row   Row  // as it should be
	Write bool // with check-and-set over the row that the step was given
	// Promote: write it in the transaction that makes the candidate current.
	Promote  bool
	Withdraw *Withdrawn    // write it with the row; By and Time are the hub's
	RunGate  string        // after the row was written, run this gate
	Again    time.Duration // step again at this time at the latest, if nothing happens; 0: when something happens
}

// step is one decision.
type step struct {
	row   Row
	m     Memory
	w     World
	nodes map[string]*Node
	o     Orders
}

// Step decides what the controller of a rollout does now. It is pure: r, m and w stay as they are.
//
// If it orders a write, the hub uses the returned Memory only after the write succeeded. If the write fails, it keeps m, reads
// the row and steps again. A row without a controller is claimed for me. The row of another controller is not touched: if that
// one does not move it any more (TakeOver), the hub gives Step the row with an empty Controller.
func Step(r Row, m Memory, w World, me string) (Memory, Orders) {
	if r.State.Ended() {
		return m, Orders{Row: r} // what is remembered is of use for ViewFrom
	}
	if r.Controller != "" && r.Controller != me {
		return Memory{}, Orders{Row: r}
	}
	s := look(r, m, w)
	s.remember(me)
	s.decide()
	return s.finish(r)
}

// look is what a step sees.
func look(r Row, m Memory, w World) *step {
	s := &step{row: r, m: m, w: w, nodes: make(map[string]*Node, len(w.Nodes))}
	for i := range w.Nodes {
		s.nodes[w.Nodes[i].Name] = &w.Nodes[i]
	}
	return s
}

// decide is the order of precedence: the store, then people, then failures, then the way forward.
func (s *step) decide() {
	switch {
	case s.w.Current == Unknown:
		return
	case s.w.Current != IsBase:
		s.overtaken()
		return
	case s.w.Stopped:
		return
	case s.row.State == Reverting:
		s.revert()
		return
	}
	if s.w.Damaged != "" && s.row.State != Halted {
		s.fail(s.w.Damaged)
		return
	}
	s.noteFailures()
	if s.tooMany() || s.row.State != Running {
		return
	}
	switch {
	case s.m.Stage == len(s.row.Plan.Stages):
		s.promote()
	case s.m.Order == nil && !s.open():
		s.timeout()
	default:
		s.admit()
		s.endStage()
		s.timeout()
	}
}

// remember makes the memory fit the row: a claim, a takeover, a change by an operator, the end of a stop.
func (s *step) remember(me string) {
	now := s.w.Now
	if s.row.Controller == "" || s.m.Rollout != s.row.ID {
		s.m = Memory{Rollout: s.row.ID, Stage: s.row.Stage, Owed: s.row.Admitted, Progress: now, Raised: now,
			Admitted: s.w.Admitted}
		s.m.Ask = (s.row.Counter + 1) << 20 // above all questions of the controllers before
		s.row.Controller, s.row.Gate = me, ""
		if s.w.Stale && s.row.State == Running {
			s.enter(Paused, "no hub moved it for a long time; `kvexpress rollout resume -k "+string(s.row.Key)+"` continues")
		}
	}
	s.m.Admitted, s.m.Failed = cloned(s.m.Admitted), cloned(s.m.Failed)
	s.m.Forgiven, s.m.Seen, s.m.Ran = cloned(s.m.Forgiven), cloned(s.m.Seen), cloned(s.m.Ran)
	if s.m.Stage != s.row.Stage {
		s.closeStage()
	}
	if s.m.State == Halted && s.row.State == Running {
		s.forgive()
	}
	if s.m.State != s.row.State || s.m.Stopped && !s.w.Stopped {
		s.restart()
	}
	for _, n := range s.w.Nodes {
		if n.On == s.row.ID {
			s.m.Admitted[n.Name] = true
		}
	}
	s.recognize()
}

// restart begins the bake, the questions, gates and all times anew. What was admitted stays.
func (s *step) restart() {
	s.m.Baking, s.m.Asked, s.row.Gate = false, false, ""
	clear(s.m.Ran)
	s.m.Progress, s.m.Raised, s.m.Earlier = s.w.Now, s.w.Now, len(s.m.Admitted) > 0
}

// closeStage begins the stage of the row.
func (s *step) closeStage() {
	s.m.Stage, s.m.Order, s.m.Full = s.row.Stage, nil, false
	s.restart()
}

// enter changes the state.
func (s *step) enter(state State, reason string) {
	s.row.State, s.row.Reason = state, reason
}

// finish completes the memory and the orders.
func (s *step) finish(was Row) (Memory, Orders) {
	s.row.Admitted = max(s.row.Admitted, len(s.m.Admitted)+s.owed())
	s.m.State, s.m.Stopped = s.row.State, s.w.Stopped
	s.o.Write = s.o.Promote || changed(was, s.row) || s.w.Now-s.m.Wrote >= Heartbeat
	if s.o.Write {
		s.row.Counter, s.m.Wrote = was.Counter+1, s.w.Now
	}
	s.o.Row = s.row
	if !s.row.State.Ended() {
		s.o.Again = s.m.Wrote + Heartbeat
		if s.m.Baking {
			s.o.Again = min(s.o.Again, s.bakeEnd())
		}
	}
	return s.m, s.o
}

// changed reports whether the step changed the row. It leaves the plan as it is.
func changed(a, b Row) bool {
	return a.State != b.State || a.Reason != b.Reason || a.End != b.End || a.Stage != b.Stage || a.Threshold != b.Threshold ||
		a.Counted != b.Counted || a.Admitted != b.Admitted || a.Gate != b.Gate || a.Controller != b.Controller
}

// cloned is a copy that may be written.
func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}
