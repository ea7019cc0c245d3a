package rollout

import "time"

// HealthState is what a node says of a candidate. The words are a part of the protocol between agents and hubs.
type HealthState string

// What a node says. "" is nothing yet.
const (
	Installing HealthState = "installing" // it has begun, and is not done: the install, its exec, its probe
	Healthy    HealthState = "healthy"
	Failed     HealthState = "failed" // final for this rollout
	Back       HealthState = "back"   // it has the current version again
	Frozen     HealthState = "frozen" // stopped, or its file is locked
)

// Health is the report of a node about a rollout.
type Health struct {
	State  HealthState `json:"state"`
	Reason string      `json:"reason,omitempty"` // with Failed: check, exec, probe, content, or another word
	Detail string      `json:"detail,omitempty"` // why, in one line, without output of commands
	Ask    uint64      `json:"ask,omitempty"`    // the number of the last question that the node has seen
}

// Node is a node with a target for the key, as the hubs see it.
type Node struct {
	Name   string
	Labels map[string]string
	Here   bool          // in contact with a hub
	Locked bool          // a target for the key is locked
	Old    bool          // its agent does not know rollouts
	On     string        // the ID of the rollout whose candidate it has; "": none
	Health Health        // its last report for this rollout
	Heard  time.Duration // when that came, on the clock of World.Now
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

// World is what the controller sees at one moment.
type World struct {
	Now     time.Duration // of a monotonic clock
	Nodes   []Node        // sorted by name
	Current Current
	Stopped bool                  // the key is stopped: timers stand still
	Gates   map[string]GateResult // of this stage and controller
}

// GateResult is what a gate said. The zero value: it has not run.
type GateResult struct {
	Done, Passed bool
	Detail       string // for people
}

// Memory is what a controller remembers of a rollout between two steps. The zero value is that of a hub that just took it over.
type Memory struct {
	Rollout string // its ID
	Stage   int
	Opened  bool            // the stage is open: Counted is fixed
	Counted map[string]bool // the nodes of this stage
	// Admitted are the nodes that get the candidate. A hub offers it to no others.
	Admitted map[string]bool
	Left     map[string]string // why nodes are not counted: "locked", "old agent"; for people
	Progress time.Duration     // when something last went forward, for the timeout
	Baking   bool
	BakeFrom time.Duration
	Ask      uint64        // the last question; nodes answer it with a Health of this number or above
	Asked    bool          // the bake is over, and the answers to Ask are awaited
	Wrote    time.Duration // when the row was last written
	Frozen   time.Duration // when the key was stopped; to move the other times at its end
}

// Orders are what the hub does after a step.
type Orders struct {
	Row   Row  // as it should be
	Write bool // with check-and-set over the row that the step was given
	// Promote: write it in the transaction that makes the candidate current.
	Promote  bool
	Withdraw *Withdrawn    // write it with the row
	RunGate  string        // after the row was written, run this gate
	Event    string        // an action of package hold that the end, or a halt, is; "": none
	Again    time.Duration // step again at this time at the latest, if nothing happens
}
