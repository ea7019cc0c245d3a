package fleet

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"kvexpress/internal/outcome"
)

// Format is the newest format of receipts that this program knows.
const Format = 1

// Receipt is what a node reports: one value in the store. Sent is its only reading of the node's
// clock. All other times are lengths, measured by the monotonic clock, so that a wrong clock
// does harm in one place only.
type Receipt struct {
	Format int       `json:"format"`
	Node   string    `json:"node"`
	Host   string    `json:"host,omitempty"` // the operating system's host name, if it is another: locks go by it
	Sent   time.Time `json:"sent"`           // by the node's clock, just before it was written
	// ClockOffset is by how many milliseconds that clock is ahead of the store's; nil: unknown.
	ClockOffset *int64 `json:"clock_offset_ms,omitempty"`
	// Hub is the hub that the agent is connected to. In the store it may be old: only hubs know whether the node is there.
	Hub string `json:"hub,omitempty"`
	// With Hub, Sent is by its clock. NodeClock is by how much the node's clock is ahead of the store's, or of the hub's if the
	// store's is unknown; 0 within two seconds.
	NodeClock Offset `json:"node_clock_off_ms,omitempty"`
	Agent     *Agent `json:"agent,omitempty"`
	// Lost is the index of an earlier receipt of the node that the store has lost, because a
	// snapshot was restored: all rows with a lower index are older than that. 0: none was lost.
	Lost uint64 `json:"lost_index,omitempty"`
	// Targets are the files of the node, sorted by their names.
	Targets []Target `json:"targets"`
	// Edited: `forget` or `retire` dropped targets of it. So the row is younger than Sent.
	Edited bool `json:"edited,omitempty"`
	// Omitted is how many targets did not fit.
	Omitted int `json:"omitted,omitempty"`
}

// Agent is what a node's agent reports of itself; nil on a node without an agent.
type Agent struct {
	Version string `json:"version"`  // of the program
	Every   Millis `json:"every_ms"` // it promises a receipt at least this often
	Age     Millis `json:"age_ms"`   // how long before Sent it wrote
	// Outage is the last time that the node could not reach the store.
	Outage *Outage `json:"outage,omitempty"`
}

// Outage is a time without the store.
type Outage struct {
	Lasted Millis `json:"lasted_ms"`
	Ended  Millis `json:"ended_ms"` // how long before Sent
}

// Writers of a target.
const (
	ByAgent = "agent"
	ByOut   = "out"
)

// Target is one file of a node.
type Target struct {
	By   string `json:"by"` // ByAgent or ByOut
	Key  string `json:"key"`
	File string `json:"file"`
	// The version in place. Version is 0 if kvexpress 1.x wrote it; all are empty if it is unknown.
	Lineage string `json:"lineage,omitempty"`
	Version uint64 `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	// Candidate: the version in place is of a rollout, and was not current when the node installed it.
	Candidate bool `json:"candidate,omitempty"`
	// Outcome is one of outcome.Reported, Since for how long it had been so at Sent, and Detail
	// why, in one line.
	Outcome outcome.Outcome `json:"outcome"`
	Since   Millis          `json:"since_ms"`
	Reason  string          `json:"reason,omitempty"` // with "refused": a word of gate.Reason
	Detail  string          `json:"detail,omitempty"`
	// ExecPending: the exec has not succeeded yet for the bytes in place.
	ExecPending bool  `json:"exec_pending,omitempty"`
	Exec        *Exec `json:"exec,omitempty"` // the last one; nil if none ran
	// Placed is how the version was installed; nil if it was in place already.
	Placed *Placed `json:"placed,omitempty"`
}

// Exec is the result of the last exec.
type Exec struct {
	Exit     int `json:"exit"` // -1: a signal ended it
	Failures int `json:"failures,omitempty"`
}

// Placed is how a version was installed.
type Placed struct {
	Age   Millis `json:"age_ms"`          // how long before Sent the file was in place
	First bool   `json:"first,omitempty"` // the node was new to the key, or went back: the version was published before
	Steps Steps  `json:"steps_ms"`
}

// Steps is how long each step of an install took on the node.
type Steps struct {
	Wait    Millis `json:"wait,omitempty"`    // from the change in the store, with spread, to the start of the install
	Install Millis `json:"install,omitempty"` // from there to the file in place
	Exec    Millis `json:"exec,omitempty"`
}

// InPlace is how long it took from the news to the file in place.
func (s Steps) InPlace() time.Duration {
	return time.Duration(s.Wait + s.Install)
}

// Millis is a length of time, in JSON in milliseconds with three decimals.
type Millis time.Duration

// Offset is how far a clock is ahead, or, negative, behind. It is written as milliseconds.
type Offset time.Duration

// MarshalJSON implements json.Marshaler.
func (o Offset) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(o).Milliseconds()) }

// UnmarshalJSON implements json.Unmarshaler.
func (o *Offset) UnmarshalJSON(b []byte) error {
	var ms int64
	err := json.Unmarshal(b, &ms)
	*o = Offset(time.Duration(ms) * time.Millisecond)
	return err
}

// MarshalJSON implements json.Marshaler.
func (m Millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(possible(time.Duration(m)).Round(time.Microsecond)) / float64(time.Millisecond))
}

// UnmarshalJSON implements json.Unmarshaler. It refuses negative lengths, and those over a
// century: any program can write a receipt. It does not use encoding/json again, which took a
// tenth of the time of a status.
func (m *Millis) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || f < 0 || f > float64(century/time.Millisecond) {
		return fmt.Errorf("%s is not a length of time", b)
	}
	*m = Millis(math.Round(f * float64(time.Millisecond)))
	return nil
}

const century = 100 * 365 * 24 * time.Hour

// possible limits a length to one that can be read again: a clock that was set can give others.
func possible(d time.Duration) time.Duration { return min(max(d, 0), century) }
