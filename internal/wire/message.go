package wire

import (
	"encoding/json"
	"time"
)

// Protocol is the WebSocket subprotocol. A hub and an agent without a common one do not work together.
const Protocol = "kvexpress.1"

// Path is where a hub accepts agents.
const Path = "/hub/agent"

// Limits of a connection.
const (
	// MaxTargets is how many targets a node may have.
	MaxTargets = 4096
	// MaxLabels is how many labels a node may have.
	MaxLabels = 16
	// MaxLabel is the longest name or value of a label, in bytes.
	MaxLabel = 64
	// MaxFromAgent is the largest message of an agent, in bytes.
	MaxFromAgent = 4 << 20
	// MaxFromHub is the largest message of a hub, in bytes.
	MaxFromHub = 4 << 20
	// MaxReceipt is the largest receipt, in bytes. An agent leaves out targets that do not fit.
	MaxReceipt = 1 << 20
	// BeatEvery is how often an agent sends a beat. The hub answers each.
	BeatEvery = 10 * time.Second
	// SilentFor is after how long without a message a side closes the connection.
	SilentFor = 30 * time.Second
	// Fresh is how old a snapshot may be for a decision. The agent asks the hub to confirm an older one.
	Fresh = 2 * time.Second
	// HelloTime limits the time from the connection to the hello, and from the hello to its answer.
	HelloTime = 10 * time.Second
)

// FromAgent is a message of an agent. One field is set.
type FromAgent struct {
	Hello   *Hello          `json:"hello,omitempty"`
	Confirm *Confirm        `json:"confirm,omitempty"`
	Receipt json.RawMessage `json:"receipt,omitempty"` // a fleet.Part
	Beat    *Beat           `json:"beat,omitempty"`
	Health  *Health         `json:"health,omitempty"`
}

// Hello is the first message of a connection. A later one replaces it: after a reload, or with a new token.
type Hello struct {
	Version    string            `json:"version"` // of the program
	Node       string            `json:"node"`
	Host       string            `json:"host"` // the operating system's host name: locks go by it
	Prefix     string            `json:"prefix"`
	Datacenter string            `json:"datacenter,omitempty"` // "": the hub's
	Token      string            `json:"token,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Targets    []Target          `json:"targets"`
	// Probe: only the answer is wanted. The connection does not show that the node is there.
	Probe bool `json:"probe,omitempty"`
	// Rollouts: the agent knows candidates. A hub offers none to an agent that does not.
	Rollouts bool `json:"rollouts,omitempty"`
}

// Target is one file of a node.
type Target struct {
	Key string `json:"key"`
	// Files are the absolute paths that locks go by: of the file, and, if it is a symbolic link, of what it leads to.
	Files []string `json:"files"`
	// SHA256 is of the bytes in place; "" if there are none. The hub sends data only if it differs.
	SHA256 string `json:"sha256,omitempty"`
	// Rollout is the ID of the rollout whose candidate is in place; "": none.
	Rollout string `json:"rollout,omitempty"`
	// Probed: the target has a probe.
	Probed bool `json:"probed,omitempty"`
}

// Health is what a node reports of a rollout: at each change, every second while it has the candidate, and as the answer to
// each Ask. It is of all targets of the key: Failed if one failed, Healthy if all are.
type Health struct {
	Key     string `json:"key"`
	Rollout string `json:"rollout"`          // its ID
	State   string `json:"state"`            // a rollout.HealthState
	Reason  string `json:"reason,omitempty"` // with failed
	Detail  string `json:"detail,omitempty"` // in one line
	Output  string `json:"output,omitempty"` // of the command that failed, unless send_output is false
	Ask     uint64 `json:"ask,omitempty"`    // of the last Ask of this rollout
}

// Ask asks a node for its Health now: a probe runs once more before the answer.
type Ask struct {
	Key     string `json:"key"`
	Rollout string `json:"rollout"`
	ID      uint64 `json:"id"` // rises
}

// Confirm asks for a snapshot from a leader read that begins after the question.
type Confirm struct {
	ID         uint64 `json:"id"` // returned with the answer; more than 0
	Key        string `json:"key"`
	Data       bool   `json:"data,omitempty"`       // with the data
	Consistent bool   `json:"consistent,omitempty"` // with Consul's consistency mode of this name
}

// Beat shows that the other side is there. The answer of a hub tells the agent the hub's clock.
type Beat struct {
	ID  int64 `json:"id,omitempty"`     // of the agent's beat; returned with the answer
	Now int64 `json:"now_us,omitempty"` // the hub's Clock
	Age int64 `json:"age_ms,omitempty"` // since the hub last confirmed what it knows
}

// FromHub is a message of a hub. One field is set.
type FromHub struct {
	Welcome  *Welcome  `json:"welcome,omitempty"`
	Refused  *Refused  `json:"refused,omitempty"`
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	Failed   *Failed   `json:"failed,omitempty"`
	Beat     *Beat     `json:"beat,omitempty"`
	Leave    *Leave    `json:"leave,omitempty"`
	Ask      *Ask      `json:"ask,omitempty"`
}

// Welcome accepts a hello.
type Welcome struct {
	// Receipts: the agent sends its receipts to this hub, not to the store.
	Receipts bool `json:"receipts,omitempty"`
	// NoReceipts is why the hub does not take them, such as a missing right; "" if it does.
	NoReceipts string `json:"no_receipts,omitempty"`
	Hub        string `json:"hub"`     // its name, for people
	Version    string `json:"version"` // of the program
	// Now is the hub's Clock after it got the hello. So the agent knows how old a snapshot is at most: the hub's clock was at
	// Now when the agent had sent the hello, or later.
	Now    int64 `json:"now_us"`
	Age    int64 `json:"age_ms"`
	Agents int   `json:"agents,omitempty"` // how many are connected to this hub
}

// Refused ends a connection: the agent does not come back before its configuration or the hub's changes, or a minute passes.
type Refused struct {
	Reason Reason `json:"reason"`
	Says   string `json:"says"` // for people, with a remedy
}

// Reason is why a hub refuses a hello, or has no snapshot of a key.
type Reason string

// The reasons. An agent treats one that it does not know as Invalid.
const (
	Invalid     Reason = "invalid"     // the message is wrong: a name, a limit, a prefix
	Token       Reason = "token"       // the store does not know the token
	Denied      Reason = "denied"      // the token, or the hub's own, may not read a row
	Unreachable Reason = "unreachable" // the hub cannot read the store
	Busy        Reason = "busy"        // the hub has no room for another agent
)

// Snapshot is a key at one moment. Rows that the message leaves out are absent in the store.
type Snapshot struct {
	Key  string `json:"key"`
	ID   uint64 `json:"id,omitempty"`   // of the Confirm that it answers
	Read int64  `json:"read_us"`        // the hub's Clock at the start of the leader read
	Rows []Row  `json:"rows,omitempty"` // checksum, manifest, stop; and data, whose value follows the message
	// Locks are of this node. Row.Name is the absolute path of the file.
	Locks []Row `json:"locks,omitempty"`
	// Reason says why there is no snapshot; "" if there is one. The file stays as it is.
	Reason Reason `json:"reason,omitempty"`
	Says   string `json:"says,omitempty"`
}

// Row is one row.
type Row struct {
	Name  string `json:"name"`
	Value []byte `json:"value,omitempty"`
	Flags uint64 `json:"flags,omitempty"`
	Index uint64 `json:"index"`
}

// RolloutRow is the name of the row with the Offer of a node that gets a candidate.
const RolloutRow = "rollout"

// DataRow is the name of the row whose value follows the message.
const DataRow = "data"

// Failed answers a Confirm that the hub cannot answer with a snapshot. With ID 0 it says why the hub does not take receipts; if
// Says is "", it takes them again, and the agent sends one.
type Failed struct {
	ID     uint64 `json:"id"`
	Reason Reason `json:"reason"`
	Says   string `json:"says"`
}

// Leave asks the agent to move to another hub, at a random moment within a time.
type Leave struct {
	Within int64 `json:"within_ms"`
}

// Clock is a reading of a hub's clock: microseconds since the hub's start, monotonic.
func Clock(start, t time.Time) int64 { return t.Sub(start).Microseconds() }
