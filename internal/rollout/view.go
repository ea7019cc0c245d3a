package rollout

import "kvexpress/internal/kv"

// View is a rollout as a hub shows it: the answer of ViewPath, and the JSON of `rollout status`.
type View struct {
	Index uint64 `json:"index"` // of this hub, for the next question
	Row   *Row   `json:"row"`   // nil: the key has had no rollout
	// Stages are those of the plan, with what is known of their nodes.
	Stages []StageView `json:"stages,omitempty"`
	Left   []LeftOut   `json:"left_out,omitempty"` // nodes that are not counted: at most MaxEvidence
	// Failed are nodes that failed: at most MaxEvidence.
	Failed  []FailedNode `json:"failed,omitempty"`
	Stopped bool         `json:"stopped,omitempty"`
	Hub     string       `json:"hub"` // that answers; only the controller knows the numbers of nodes
}

// StageView is a stage in numbers of nodes.
type StageView struct {
	Name     string `json:"name"`  // "role=canary", "10%" or "3 nodes"
	Nodes    int    `json:"nodes"` // that it has in all, with those of the stages before; an estimate before it begins
	Admitted int    `json:"admitted"`
	Healthy  int    `json:"healthy"`
	Failed   int    `json:"failed"`
	Waits    string `json:"waits,omitempty"` // what the stage waits for; "" if it has not begun or is done
	Done     bool   `json:"done,omitempty"`
}

// LeftOut is a node that is not counted.
type LeftOut struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// FailedNode is a node that failed.
type FailedNode struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
	Output string `json:"output,omitempty"` // of the command that failed, for callers that may read the key
}

// Preview is what a rollout of the key would be now: the answer of PreviewPath, which `in` asks before it writes.
type Preview struct {
	Hub    string    `json:"hub"`
	Plan   Plan      `json:"plan"`               // of the policy in the store, as the hub reads it
	Stages []int     `json:"stages"`             // how many nodes each has, with those of the stages before
	Nodes  int       `json:"nodes"`              // that would be counted
	Left   []LeftOut `json:"left_out,omitempty"` // at most MaxEvidence
	LeftN  int       `json:"left_out_nodes"`
	// Problems are why a rollout cannot begin, each with a remedy: an unknown gate, labels of no node, no nodes at all, a bake
	// that is too short for a probe.
	Problems []string `json:"problems,omitempty"`
}

// Paths of a hub. All take a key; ViewPath takes since and wait in milliseconds, too. Both answer in JSON.
const (
	ViewPath    = "/hub/rollout"
	PreviewPath = "/hub/rollout/preview"
)

// ViewOf is a row without a hub's knowledge of nodes.
func ViewOf(_ kv.Key, r *Row) View {
	v := View{Row: r}
	if r == nil {
		return v
	}
	for i, s := range r.Plan.Stages {
		v.Stages = append(v.Stages, StageView{Name: s.Name(), Done: i < r.Stage})
	}
	return v
}
