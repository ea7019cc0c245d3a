package agent

import (
	"slices"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/outcome"
)

// maxOutputs is how many bytes of command output a status holds, of all targets.
const maxOutputs = 1 << 20

// Status is the state of an agent and its targets.
type Status struct {
	Version string       `json:"version"` // of the program
	Node    string       `json:"node"`
	PID     int          `json:"pid"`
	Started time.Time    `json:"started"`
	Config  ConfigStatus `json:"config"`
	Store   StoreStatus  `json:"store"`
	Hub     *HubStatus   `json:"hub,omitempty"` // nil without hubs in the configuration
	// Contact is when a hub, or the store itself, last showed that the node gets news; nil: never.
	Contact  *time.Time     `json:"contact,omitempty"`
	Receipt  ReceiptStatus  `json:"receipt"`
	Requests uint64         `json:"requests"` // to the store, since the start
	Targets  []TargetStatus `json:"targets"`  // in the order of the configuration
}

// ConfigStatus is the state of the configuration.
type ConfigStatus struct {
	Files  []string  `json:"files"` // that the configuration in force was read from
	Loaded time.Time `json:"loaded"`
	// Error is why the last reload was refused; "" if it was not. Then the old configuration is in force.
	Error string `json:"error,omitempty"`
}

// StoreStatus is the state of the store, as this node sees it.
type StoreStatus struct {
	Addr  string     `json:"addr"`
	Up    bool       `json:"up"`
	Since *time.Time `json:"since,omitempty"` // when Up last changed; nil before the first answer
	Error string     `json:"error,omitempty"` // why it is unreachable, in one line
}

// HubStatus is how the node follows its hubs.
type HubStatus struct {
	Addrs  []string     `json:"addrs"`           // the preferred one first
	Addr   string       `json:"addr,omitempty"`  // of the hub that is connected; "": none is
	Since  *time.Time   `json:"since,omitempty"` // when it was connected
	Age    fleet.Millis `json:"age_ms"`          // of the hub's knowledge of the store; 0 without a hub
	Error  string       `json:"error,omitempty"` // why no hub is connected, in one line
	Direct bool         `json:"direct"`          // the node asks the store itself meanwhile
}

// NoContact says at a time that the node has had no contact for longer than MaxSilence; "" if it has, or has no targets.
func (s Status) NoContact(now time.Time) string {
	last := s.Started
	if s.Contact != nil {
		last = *s.Contact
	}
	if now.Sub(last) <= MaxSilence || len(s.Targets) == 0 {
		return ""
	}
	from := "the store"
	if s.Hub != nil {
		from = "a hub or the store"
	}
	return "no contact with " + from + " for " + now.Sub(last).Round(time.Second).String() + "; files stay as they are"
}

// StoreUp reports whether the store answers, as far as the node or its hub knows.
func (s Status) StoreUp() bool {
	if s.Hub != nil && s.Hub.Addr != "" {
		return time.Duration(s.Hub.Age) <= StaleAfter
	}
	return s.Store.Up
}

// StaleAfter is the age of its hub's knowledge at which an agent looks for another hub.
const StaleAfter = 30 * time.Second

// MaxSilence is how long a node may be without contact before it counts as unhealthy.
const MaxSilence = 2 * time.Minute

// ReceiptStatus is the state of the node's receipt in the store.
type ReceiptStatus struct {
	Off   bool       `json:"off,omitempty"`   // by the configuration
	Last  *time.Time `json:"last,omitempty"`  // when it was last written; nil: never
	Error string     `json:"error,omitempty"` // why the last write failed
}

// TargetStatus is the state of one target.
type TargetStatus struct {
	Key     string          `json:"key"`
	File    string          `json:"file"`
	Outcome outcome.Outcome `json:"outcome"`
	Since   *time.Time      `json:"since,omitempty"`   // when the outcome last changed
	Detail  string          `json:"detail,omitempty"`  // why, in one line, printable
	Reason  string          `json:"reason,omitempty"`  // with Refused: the word of gate.Reason
	Waits   string          `json:"waits,omitempty"`   // the process that has locked the file
	Version uint64          `json:"version,omitempty"` // in place; 0 for an unmanaged one
	Lineage string          `json:"lineage,omitempty"`
	SHA256  string          `json:"sha256,omitempty"`       // in place, "" before it is known
	Size    int             `json:"size,omitempty"`         // in bytes
	Changed *time.Time      `json:"changed,omitempty"`      // when this process last replaced the file
	Good    *time.Time      `json:"good,omitempty"`         // end of the last reconcile that found or made it right
	Check   string          `json:"check_output,omitempty"` // the end of the output of the last check
	Exec    *ExecStatus     `json:"exec,omitempty"`         // nil without an exec
	// Candidate is a candidate that is offered, or in place; nil without one.
	Candidate *CandidateStatus `json:"candidate,omitempty"`
	Polled    bool             `json:"polled,omitempty"` // its row is read every few seconds, not watched
	Counts    Counts           `json:"counts"`

	answered bool    // the store has answered for this target
	placed   *placed // how the version was put in place
	Brief    string  `json:"-"` // Detail without command lines and output
}

// Output returns the output of the command that failed; "" if none did.
func (s *TargetStatus) Output() string {
	switch {
	case s.Outcome == outcome.Refused && s.Reason == string(gate.CheckFailed):
		return s.Check
	case s.Exec != nil && s.Exec.Failures > 0:
		return s.Exec.Output
	}
	return ""
}

// ExecWaits reports whether the exec is pending only because of exec_every.
func (s *TargetStatus) ExecWaits() bool {
	return s.Outcome == outcome.Pending && s.Exec != nil && s.Exec.Failures == 0 && s.Exec.Retry != nil
}

func (s *TargetStatus) hideOutput() {
	s.Check = ""
	if s.Exec != nil {
		s.Exec.Output = ""
	}
}

// Public is the status without command lines and their output, for clients on the network.
func (s Status) Public() Status {
	s.Targets = slices.Clone(s.Targets)
	for i := range s.Targets {
		s.Targets[i].Detail = s.Targets[i].Brief
		s.Targets[i].hideOutput()
	}
	if s.Config.Error != "" {
		s.Config.Error = "see the log of the agent"
	}
	return s
}

// ExecStatus is the state of a target's exec.
type ExecStatus struct {
	Pending  bool         `json:"pending"`
	Failures int          `json:"failures,omitempty"` // in a row
	Last     *time.Time   `json:"last,omitempty"`     // when it last ended
	Exit     int          `json:"exit"`               // its exit status then; -1 if a signal ended it
	Output   string       `json:"output,omitempty"`   // the end of its output
	Took     fleet.Millis `json:"took_ms,omitempty"`
	Retry    *time.Time   `json:"retry,omitempty"` // when it runs again, if it is pending
}

// Counts are of one target since the process began.
type Counts struct {
	Reconciles uint64            `json:"reconciles"`
	Installs   uint64            `json:"installs"`
	Repairs    uint64            `json:"repairs"`            // mode or owner corrected
	Refusals   map[string]uint64 `json:"refusals,omitempty"` // by reason: gate.Reason, or an outcome such as stopped
	ExecOK     uint64            `json:"exec_ok"`
	ExecFail   uint64            `json:"exec_fail"`
	// ExecSeconds is a histogram of the durations of execs, see ExecBuckets. The last entry counts those beyond the last
	// bucket. Not cumulative.
	ExecSeconds []uint64     `json:"exec_seconds,omitempty"`
	ExecTotal   fleet.Millis `json:"exec_total_ms"`
}

// ExecBuckets are the upper ends of Counts.ExecSeconds, in seconds.
func ExecBuckets() []float64 { return []float64{0.01, 0.05, 0.25, 1, 5, 30, 120, 600} }
