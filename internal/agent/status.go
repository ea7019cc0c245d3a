package agent

import (
	"slices"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/outcome"
)

// maxOutputs is how many bytes of command output a status holds, of all targets.
const maxOutputs = 1 << 20

// Status is what an agent says of itself.
type Status struct {
	Version  string         `json:"version"` // of the program
	Node     string         `json:"node"`
	PID      int            `json:"pid"`
	Started  time.Time      `json:"started"`
	Config   ConfigStatus   `json:"config"`
	Store    StoreStatus    `json:"store"`
	Receipt  ReceiptStatus  `json:"receipt"`
	Requests uint64         `json:"requests"` // to the store, since the start
	Targets  []TargetStatus `json:"targets"`  // in the order of the configuration
}

// ConfigStatus is what became of the configuration.
type ConfigStatus struct {
	Files  []string  `json:"files"` // as read last, with success
	Loaded time.Time `json:"loaded"`
	// Error is why the last reload was refused; "" if it was not. The
	// configuration from before is in force then.
	Error string `json:"error,omitempty"`
}

// StoreStatus is how the store is, as far as this node can tell.
type StoreStatus struct {
	Addr  string     `json:"addr"`
	Up    bool       `json:"up"`
	Since *time.Time `json:"since,omitempty"` // since when it is as it is; nil before the first answer
	Error string     `json:"error,omitempty"` // why it is away, in one line
}

// ReceiptStatus is how it stands with what the node reports to the store.
type ReceiptStatus struct {
	Off   bool       `json:"off,omitempty"`   // the configuration says so
	Last  *time.Time `json:"last,omitempty"`  // when the last one was written; nil: none was yet
	Error string     `json:"error,omitempty"` // why the one that is due was not written
}

// TargetStatus is how one target is.
type TargetStatus struct {
	Key     string          `json:"key"`
	File    string          `json:"file"`
	Outcome outcome.Outcome `json:"outcome"`
	Since   *time.Time      `json:"since,omitempty"`   // since when it has that outcome
	Detail  string          `json:"detail,omitempty"`  // why, in one line, printable
	Reason  string          `json:"reason,omitempty"`  // with Refused: the word of gate.Reason
	Waits   string          `json:"waits,omitempty"`   // for which process, as that has locked the file
	Version uint64          `json:"version,omitempty"` // in place; 0 for an unmanaged one
	Lineage string          `json:"lineage,omitempty"`
	SHA256  string          `json:"sha256,omitempty"`       // in place, "" before it is known
	Size    int             `json:"size,omitempty"`         // in bytes
	Changed *time.Time      `json:"changed,omitempty"`      // when this process last replaced the file
	Good    *time.Time      `json:"good,omitempty"`         // end of the last reconcile that found or made it right
	Check   string          `json:"check_output,omitempty"` // the end of what the last check printed
	Exec    *ExecStatus     `json:"exec,omitempty"`         // nil without an exec
	Polled  bool            `json:"polled,omitempty"`       // its row is read every few seconds, where others are watched
	Counts  Counts          `json:"counts"`

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

// Public removes command lines and their output from a status, for everybody on the network.
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

// ExecStatus is how a target's exec is.
type ExecStatus struct {
	Pending  bool          `json:"pending"`
	Failures int           `json:"failures,omitempty"` // in a row
	Last     *time.Time    `json:"last,omitempty"`     // when it last ended
	Exit     int           `json:"exit"`               // its exit status then; -1 if a signal ended it
	Output   string        `json:"output,omitempty"`   // the end of what it printed then
	Took     time.Duration `json:"took_ns,omitempty"`
	Retry    *time.Time    `json:"retry,omitempty"` // when it runs again, if it is pending
}

// Counts are of one target since the process began.
type Counts struct {
	Reconciles uint64            `json:"reconciles"`
	Installs   uint64            `json:"installs"`
	Repairs    uint64            `json:"repairs"`            // mode or owner corrected
	Refusals   map[string]uint64 `json:"refusals,omitempty"` // by reason: gate.Reason, or an outcome such as stopped
	ExecOK     uint64            `json:"exec_ok"`
	ExecFail   uint64            `json:"exec_fail"`
	// ExecSeconds is a histogram of how long execs took: see ExecBuckets.
	// The last entry counts those beyond the last bucket. Not cumulative.
	ExecSeconds []uint64      `json:"exec_seconds,omitempty"`
	ExecTotal   time.Duration `json:"exec_total_ns"`
}

// ExecBuckets are the upper ends of Counts.ExecSeconds, in seconds.
func ExecBuckets() []float64 { return []float64{0.01, 0.05, 0.25, 1, 5, 30, 120, 600} }
