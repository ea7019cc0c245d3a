package rollout

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"kvexpress/internal/kv"
)

// View is a rollout as a hub shows it: the answer of ViewPath, and the JSON of `rollout status`.
type View struct {
	Index uint64 `json:"index"` // of this hub, for the next question
	Row   *Row   `json:"row"`   // nil: the key has had no rollout
	// Stages are those of the plan, with what is known of their nodes.
	Stages []StageView `json:"stages,omitempty"`
	Left   []LeftOut   `json:"left_out,omitempty"` // nodes that are not counted: at most MaxEvidence
	// Failed are nodes that failed: at most MaxEvidence.
	Failed []FailedNode `json:"failed,omitempty"`
	// On are the nodes that get the candidate: at most MaxEvidence.
	On      []string `json:"on,omitempty"`
	Stopped bool     `json:"stopped,omitempty"`
	Hub     string   `json:"hub"` // that answers
	// Controls: this hub is the controller, also after the end. Others do not know the numbers of nodes.
	Controls bool `json:"controls,omitempty"`
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

// ViewFrom is the rollout as its controller sees it, also after the end. Of another hub, it has the row alone.
func ViewFrom(r Row, m Memory, w World) View {
	v := ViewOf(r.Key, &r)
	v.Stopped = w.Stopped
	if m.Rollout != r.ID {
		return v
	}
	s := look(r, m, w)
	order, left := m.Order, m.Left
	if order == nil { // between two stages
		order, left = s.order()
	}
	v.Left = left[:min(len(left), MaxEvidence)]
	for _, name := range s.failures() {
		if len(v.Failed) < MaxEvidence {
			v.Failed = append(v.Failed, m.Failed[name])
		}
	}
	if !r.State.Ended() {
		on := slices.Sorted(maps.Keys(m.Admitted))
		v.On = on[:min(len(on), MaxEvidence)]
	}
	stages := firsts(order)
	for i := range v.Stages {
		stage := &v.Stages[i]
		if len(order) > 0 {
			stage.Nodes = r.Plan.wants(i, stages)
		}
		if i > r.Stage {
			continue
		}
		for _, p := range order[:stage.Nodes] {
			if m.Admitted[p.Name] {
				stage.Admitted++
				switch s.of(p.Name) {
				case healthy:
					stage.Healthy++
				case failed:
					stage.Failed++
				}
			}
		}
		if i == r.Stage && !r.State.Ended() {
			stage.Waits = s.waitsFor()
		}
	}
	return v
}

// waitsFor is what the rollout waits for now.
func (s *step) waitsFor() string {
	switch {
	case s.w.Stopped:
		return fmt.Sprintf("`kvexpress resume -k %s`: the key is stopped", s.row.Key)
	case s.row.State == Reverting:
		return "nodes that go back to the current version"
	case s.row.State != Running, s.row.Stage == len(s.row.Plan.Stages):
		return s.row.Reason
	case s.owed() > 0 && (s.m.Order == nil || s.m.Full):
		return lost(s.owed())
	case s.m.Order == nil:
		return "a node in contact with a hub"
	case s.m.Baking:
		return fmt.Sprintf("its bake: %s left", max(0, s.bakeEnd()-s.w.Now).Round(time.Millisecond))
	case s.row.Gate != "":
		return "the gate " + s.row.Gate
	case s.m.Asked:
		return "the last health report of its nodes"
	}
	if names := s.named(waiting, silent); len(names) > 0 {
		return list(names)
	}
	if s.count().healthy == 0 {
		return "a healthy node"
	}
	return "nodes that become healthy again: no more than max_unavailable may be unhealthy"
}
