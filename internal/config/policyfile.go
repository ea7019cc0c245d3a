package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// ParsePolicy reads a policy.yml. name is the file's, for messages. The error is an *Error with all mistakes.
func ParsePolicy(name string, b []byte) (p rollout.Policy, err error) {
	l := &loader{file: printable(name), least: "content: {min_lines: 1}"}
	l.hint = func(string) string { return "" }
	lines := l.readMap(b, l.policySetters(&p))
	l.finishPlan(p.Plan, lines)
	return p, l.err()
}

// ParseStages reads the stages of a rollout in their short form: shares, numbers of nodes and labels with commas between them,
// such as "role=canary,10%,100%". The error is an *Error, whose lines begin with name.
func ParseStages(name, text string) ([]rollout.Stage, error) {
	var file strings.Builder
	file.WriteString("stages:\n")
	for word := range strings.SplitSeq(text, ",") {
		label, value, labelled := strings.Cut(word, "=")
		switch {
		case labelled:
			fmt.Fprintf(&file, "- nodes: {%q: %q}\n", label, value)
		case strings.HasSuffix(word, "%"):
			fmt.Fprintf(&file, "- share: %q\n", word)
		default:
			fmt.Fprintf(&file, "- count: %q\n", word)
		}
	}
	p, err := ParsePolicy(name, []byte(file.String()))
	return p.Stages, err
}

func (l *loader) policySetters(p *rollout.Policy) map[string]func(value) {
	content, history := contentSetters(&p.Content), historySetters(&p.History)
	return map[string]func(value){
		"stages":     func(v value) { l.readStages(v, &p.Plan) },
		"max_failed": one(&p.MaxFailed, parseMaxFailed),
		"timeout":    one((*time.Duration)(&p.Timeout), parseDuration(time.Second)),
		"on_failure": one(&p.OnFailure, func(s string) (rollout.OnFailure, error) {
			if s != string(rollout.Revert) && s != string(rollout.Halt) {
				return "", fmt.Errorf("%.20q is no reaction to a failure; give revert or halt", s)
			}
			return rollout.OnFailure(s), nil
		}),
		"gates":           func(v value) { readGates(v, &p.Plan) },
		"content":         func(v value) { v.read(content) },
		"history":         func(v value) { v.read(history) },
		"require_message": one(&p.RequireMessage, parseSwitch),
	}
}

func contentSetters(c *rollout.Content) map[string]func(value) {
	return map[string]func(value){
		"min_lines":  one(&c.MinLines, parseNumber("lines", maxLines)),
		"max_shrink": one(&c.MaxShrink, parsePercent),
		"max_change": one(&c.MaxChange, parsePercent),
	}
}

func historySetters(h *rollout.History) map[string]func(value) {
	return map[string]func(value){
		"versions": one(&h.Versions, parseVersions),
		"days":     one(&h.Days, parseNumber("days", rollout.MaxDays)),
	}
}

func stageSetters(s *rollout.Stage) map[string]func(value) {
	return map[string]func(value){
		"nodes": func(v value) {
			if s.Nodes = v.labels(); kindOf(v.node) == aMap && len(v.node.Content) == 0 {
				v.bad("no labels; give at least one, or share: 100%%")
			}
		},
		"share":           one(&s.Share, parseShare),
		"count":           one(&s.Count, parseCount),
		"bake":            one((*time.Duration)(&s.Bake), parseDuration(0)),
		"max_unavailable": one(&s.MaxUnavailable, parseCount),
		"pause": one(&s.PauseBefore, func(word string) (bool, error) {
			if word != "before" {
				return false, fmt.Errorf("%.20q is no place for a pause; give before, or remove it", word)
			}
			return true, nil
		}),
	}
}

func (l *loader) readStages(v value, p *rollout.Plan) {
	items := v.items()
	if n := len(items); kindOf(v.node) == aList && (n == 0 || n > rollout.MaxStages) {
		v.bad("a list of %d; give 1 to %d stages, or remove the key", n, rollout.MaxStages)
		return
	}
	for _, item := range items {
		var s rollout.Stage
		lines := item.read(stageSetters(&s))
		which := 0
		for _, key := range []string{"nodes", "share", "count"} {
			which += min(1, lines[key])
		}
		if lines != nil && which != 1 {
			item.bad("a stage says once which nodes it has; give one of nodes, share and count")
		}
		l.checkStage(item, s, p.Stages)
		p.Stages = append(p.Stages, s)
	}
	if last := len(items) - 1; last >= 0 && p.Stages[last].Share.Of(rollout.MaxNodes) < rollout.MaxNodes {
		items[last].bad("the last stage does not have all nodes; end with a stage with share: 100%%")
	}
}

// checkStage checks a stage against those before it.
func (l *loader) checkStage(item value, s rollout.Stage, before []rollout.Stage) {
	if s.PauseBefore && len(before) == 0 {
		item.bad("nothing comes before the first stage; remove pause: publish when the version is ready")
	}
	for _, b := range slices.Backward(before) {
		switch {
		case s.Count > 0 && b.Count > 0 && s.Count <= b.Count:
			item.bad("%d nodes are not more than the %d of a stage before; give a larger count", s.Count, b.Count)
			return
		case s.Share.String() != "" && b.Share.String() != "" && s.Share.Of(rollout.MaxNodes) <= b.Share.Of(rollout.MaxNodes):
			item.bad("%s is not more than the %s of a stage before; give a larger share", s.Share, b.Share)
			return
		}
	}
}

func readGates(v value, p *rollout.Plan) {
	items := v.items()
	if n := len(items); kindOf(v.node) == aList && (n == 0 || n > rollout.MaxGates) {
		v.bad("a list of %d; give 1 to %d names of gates, or remove the key", n, rollout.MaxGates)
		return
	}
	for _, item := range items {
		var name string
		one(&name, func(s string) (string, error) {
			switch {
			case !rollout.GateName(s):
				return "", fmt.Errorf("%s is no name of a gate; give 1 to 64 letters, digits, - and _", kv.Quote(s))
			case slices.Contains(p.Gates, s):
				return "", fmt.Errorf("%s is given twice; remove one", kv.Quote(s))
			}
			return s, nil
		})(item)
		p.Gates = append(p.Gates, name)
	}
}

// finishPlan checks the keys about rollouts against each other.
func (l *loader) finishPlan(p rollout.Plan, lines map[string]int) {
	for _, key := range []string{"max_failed", "timeout", "on_failure", "gates"} {
		if lines[key] > 0 && lines["stages"] == 0 {
			l.add(lines[key], "%s has no effect without stages; add stages, or remove it", key)
		}
	}
	if len(p.Stages) == 0 {
		return
	}
	longest := slices.MaxFunc(p.Stages, func(a, b rollout.Stage) int { return cmp.Compare(a.Bake, b.Bake) }).Bake
	if p.Timeout > 0 && p.Timeout < longest {
		l.add(lines["timeout"], "timeout: %s is shorter than the bake of %s; give at least that",
			rollout.Text(p.Timeout), rollout.Text(longest))
	}
	if b, err := json.Marshal(p); err != nil || len(b) > rollout.MaxPlan {
		err = cmp.Or(err, fmt.Errorf("they have %d bytes in the store, at most %d are allowed", len(b), rollout.MaxPlan))
		l.add(lines["stages"], "stages: %w; give fewer stages, or shorter labels and gates", err)
	}
}

func parsePercent(s string) (p gate.Percent, err error) {
	err = p.Set(s)
	return p, err
}

func parseShare(s string) (gate.Percent, error) {
	p, err := parsePercent(s)
	if err == nil && p.Of(rollout.MaxNodes) == 0 {
		err = errors.New("a stage of 0% has no nodes; give more than 0%")
	}
	return p, err
}

func parseCount(s string) (int, error) {
	n, err := parseNumber("nodes", rollout.MaxNodes)(s)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.20q is not a number of nodes; give 1 to %d", s, rollout.MaxNodes)
	}
	return n, nil
}

func parseMaxFailed(s string) (*int, error) {
	n, err := parseNumber("nodes", rollout.MaxNodes)(s)
	return &n, err
}

func parseVersions(s string) (int, error) {
	n, err := parseNumber("versions", rollout.MaxVersions)(s)
	if err != nil || n < rollout.MinVersions {
		return 0, fmt.Errorf("%.20q is not a number of versions; give %d to %d", s, rollout.MinVersions, rollout.MaxVersions)
	}
	return n, nil
}
