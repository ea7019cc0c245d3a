package rollout

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"kvexpress/internal/gate"
)

// Limits of a plan.
const (
	MaxStages = 16
	MaxGates  = 8
	MaxNodes  = 1_000_000
	// MaxPlan limits a plan in JSON, in bytes: the row of a rollout has it.
	MaxPlan = 1 << 10
	// ProbeBake is the least bake of a stage with a target that has a probe.
	ProbeBake = 2 * time.Second
	// DefaultTimeout is how long a rollout may be without progress.
	DefaultTimeout = time.Minute
)

// Plan is the part of a policy that tells how a version reaches the fleet. Without stages, it reaches all nodes at once.
type Plan struct {
	Stages []Stage `json:"stages,omitempty"`
	// MaxFailed is how many nodes may fail; nil: none of fewer than 100 counted nodes, else 0.1 % of them.
	MaxFailed *int      `json:"max_failed,omitempty"`
	Timeout   Duration  `json:"timeout,omitempty"` // without progress; 0: DefaultTimeout
	OnFailure OnFailure `json:"on_failure,omitempty"`
	// Gates are names of commands in hub.yml. Each must pass before a stage ends.
	Gates []string `json:"gates,omitempty"`
}

// Stage is a part of the fleet. One of Nodes, Share and Count says which; each includes the nodes of the stages before.
type Stage struct {
	Nodes map[string]string `json:"nodes,omitempty"` // all nodes with these labels
	Share gate.Percent      `json:"share,omitzero"`  // of the counted nodes, rounded up
	Count int               `json:"count,omitempty"`
	Bake  Duration          `json:"bake,omitempty"` // how long all of its nodes must stay healthy
	// MaxUnavailable is how many admitted nodes may be not healthy at a time; 0: all nodes of the stage are admitted at once.
	MaxUnavailable int  `json:"max_unavailable,omitempty"`
	PauseBefore    bool `json:"pause_before,omitempty"` // wait for `rollout promote` before this stage
}

// Name is the stage for people: "role=canary", "10%" or "3 nodes".
func (s Stage) Name() string {
	switch {
	case len(s.Nodes) > 0:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(s.Nodes)) {
			pairs = append(pairs, name+"="+s.Nodes[name])
		}
		return strings.Join(pairs, ",")
	case s.Count == 1:
		return "1 node"
	case s.Count > 0:
		return strconv.Itoa(s.Count) + " nodes"
	}
	return s.Share.String()
}

// lines are the plan as a part of a policy.yml that says the same.
func (p Plan) lines() []string {
	if len(p.Stages) == 0 {
		return nil
	}
	lines := []string{"stages:"}
	for _, s := range p.Stages {
		lines = append(lines, s.lines()...)
	}
	if p.MaxFailed != nil {
		lines = append(lines, "max_failed: "+strconv.Itoa(*p.MaxFailed))
	}
	if p.Timeout > 0 {
		lines = append(lines, "timeout: "+Text(p.Timeout))
	}
	if p.OnFailure != "" {
		lines = append(lines, "on_failure: "+string(p.OnFailure))
	}
	if len(p.Gates) > 0 {
		lines = append(lines, "gates: ["+strings.Join(p.Gates, ", ")+"]")
	}
	return lines
}

func (s Stage) lines() []string {
	var lines []string
	switch {
	case len(s.Nodes) > 0:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(s.Nodes)) {
			pairs = append(pairs, yamlText(name)+": "+yamlText(s.Nodes[name]))
		}
		lines = append(lines, "  - nodes: {"+strings.Join(pairs, ", ")+"}")
	case s.Count > 0:
		lines = append(lines, "  - count: "+strconv.Itoa(s.Count))
	default:
		lines = append(lines, "  - share: "+s.Share.String())
	}
	if s.Bake > 0 {
		lines = append(lines, "    bake: "+Text(s.Bake))
	}
	if s.MaxUnavailable > 0 {
		lines = append(lines, "    max_unavailable: "+strconv.Itoa(s.MaxUnavailable))
	}
	if s.PauseBefore {
		lines = append(lines, "    pause: before")
	}
	return lines
}

// yamlText is a text in YAML. It is quoted if it is not a plain word, or if YAML may read it as a number, a boolean or null.
func yamlText(s string) string {
	if !GateName(s) || strings.Trim(s[:1], "0123456789-") == "" ||
		slices.Contains([]string{"true", "false", "yes", "no", "on", "off", "y", "n", "null"}, strings.ToLower(s)) {
		return strconv.Quote(s)
	}
	return s
}

// GateName reports whether a word can be the name of a gate: 1 to 64 letters, digits, - and _.
func GateName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return s != "" && len(s) <= 64 && strings.Trim(s, letters) == ""
}

// OnFailure is what a rollout does after one failure too many.
type OnFailure string

// The reactions to a failure. "" is Revert.
const (
	Revert OnFailure = "revert" // all nodes go back to the current version
	Halt   OnFailure = "halt"   // all stay as they are, until a person decides
)

// Duration is a length of time, in JSON as a text such as "2s".
type Duration time.Duration

// Text is a length of time for people and files: "1m" for Go's "1m0s".
func Text(d Duration) string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(Text(d)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	t, err := time.ParseDuration(string(b))
	*d = Duration(t)
	return err
}
