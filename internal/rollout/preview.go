package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

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

// Preview is a rollout with this plan over these nodes. known reports whether hub.yml has a gate.
func (p Plan) Preview(all []Node, known func(gate string) bool) Preview {
	counted, left := count(all)
	v := Preview{Plan: p, Nodes: len(counted), Left: left[:min(len(left), MaxEvidence)], LeftN: len(left)}
	var first []int
	var short []string
	for _, n := range counted {
		first = append(first, p.first(n.Labels))
	}
	for i, stage := range p.Stages {
		if len(counted) > 0 {
			v.Stages = append(v.Stages, p.wants(i, first))
		}
		labelled := slices.ContainsFunc(counted, func(n Node) bool { return stage.has(n.Labels) })
		if len(stage.Nodes) > 0 && len(counted) > 0 && !labelled {
			v.problem("no node in contact with a hub has the labels %s; set them in agent.yml, or change this stage of the policy",
				stage.Name())
		}
		if time.Duration(stage.Bake) < ProbeBake {
			short = append(short, stage.Name())
		}
	}
	if probed := slices.IndexFunc(counted, func(n Node) bool { return n.Probed }); probed >= 0 && len(short) > 0 {
		v.problem("the target on %s has a probe: in the policy, give each stage a bake of at least %s; shorter: %s",
			counted[probed].Name, ProbeBake, strings.Join(short, ", "))
	}
	for _, name := range p.Gates {
		if !known(name) {
			v.problem("the hub has no gate %s; define it in hub.yml, or remove it from the policy", name)
		}
	}
	v.noNode(all)
	return v
}

// noNode says why no node can be counted.
func (v *Preview) noNode(all []Node) {
	here := slices.DeleteFunc(slices.Clone(all), func(n Node) bool { return !n.Here })
	switch {
	case v.Nodes > 0:
	case len(here) == 0:
		v.problem("no agent with a target for this key is in contact with a hub; start one, or publish with --now -m WHY")
	case !slices.ContainsFunc(here, func(n Node) bool { return !n.Locked }):
		v.problem("all %s in contact with a hub have locked the file; unlock one with `kvexpress unlock`", nodes(len(here)))
	default:
		v.problem("no agent in contact with a hub can take part: %s; update kvexpress on the nodes, or publish with --now -m WHY",
			leftWhy(v.Left))
	}
}

func leftWhy(left []LeftOut) string {
	var why []string
	for _, l := range left {
		why = append(why, l.Node+": "+l.Why)
	}
	return list(why)
}

func (v *Preview) problem(format string, args ...any) {
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}
