package config

import (
	"fmt"

	"kvexpress/internal/gate"
	"kvexpress/internal/rollout"
)

// ParsePolicy reads a policy.yml. name is the file's, for messages. The error is an *Error with all mistakes.
func ParsePolicy(name string, b []byte) (p rollout.Policy, err error) {
	l := &loader{file: printable(name), least: "content: {min_lines: 1}"}
	l.hint = func(key string) string {
		switch key {
		case "stages", "max_failed", "timeout", "on_failure", "gates":
			return "; this kvexpress has no rollouts in stages"
		}
		return ""
	}
	content, history := map[string]func(value){
		"min_lines":  one(&p.Content.MinLines, parseNumber("lines", maxLines)),
		"max_shrink": one(&p.Content.MaxShrink, parsePercent),
		"max_change": one(&p.Content.MaxChange, parsePercent),
	}, map[string]func(value){
		"versions": one(&p.History.Versions, parseVersions),
		"days":     one(&p.History.Days, parseNumber("days", rollout.MaxDays)),
	}
	l.readMap(b, map[string]func(value){
		"content":         func(v value) { v.read(content) },
		"history":         func(v value) { v.read(history) },
		"require_message": one(&p.RequireMessage, parseSwitch),
	})
	return p, l.err()
}

func parsePercent(s string) (p gate.Percent, err error) {
	err = p.Set(s)
	return p, err
}

func parseVersions(s string) (int, error) {
	n, err := parseNumber("versions", rollout.MaxVersions)(s)
	if err != nil || n < rollout.MinVersions {
		return 0, fmt.Errorf("%.20q is not a number of versions; give %d to %d", s, rollout.MinVersions, rollout.MaxVersions)
	}
	return n, nil
}
