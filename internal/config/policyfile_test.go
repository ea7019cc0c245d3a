package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/rollout"
)

// Every mistake of a policy is refused, with its line.
func TestPolicyRefused(t *testing.T) {
	const end = "\n- share: 100%"
	many := strings.Repeat("\n- nodes: {role: web}", rollout.MaxStages)
	for text, want := range map[string]string{
		"stages: []":                                                             ":1: stages: a list of 0; give 1 to 16 stages",
		"stages: 10%":                                                            ":1: stages: this is one value; give a list",
		"stages:" + many + end:                                                   ":1: stages: a list of 17",
		"stages:\n- count: 5":                                                    ":2: stages: the last stage does not have all nodes",
		"stages:\n- bake: 2s" + end:                                              ":2: stages: a stage says once which nodes it has",
		"stages:\n- share: 0%" + end:                                             ":2: share: a stage of 0% has no nodes",
		"stages:\n- count: 0" + end:                                              `:2: count: "0" is not a number of nodes`,
		"stages:\n- nodes: {}" + end:                                             ":2: nodes: no labels",
		"stages:\n- nodes: role" + end:                                           ":2: nodes: this is one value; give a map",
		"stages:\n- bakes: 1s" + end:                                             `:2: unknown key "bakes"; did you mean "bake"?`,
		"stages:\n- share: 100%" + end:                                           ":3: stages: 100% is not more than the 100%",
		"stages:\n- share: 9.99%" + end:                                          "",
		"stages:\n- share: 20%\n- count: 5\n- share: 10%" + end:                  ":4: stages: 10% is not more than the 20% of a stage before",
		"stages:\n- count: 5\n- share: 10%\n- count: 5" + end:                    ":4: stages: 5 nodes are not more than the 5 of a stage before",
		"stages:\n- {share: 1%, bake: -1s}" + end:                                `:2: bake: "-1s" is not a time`,
		"stages:\n- {share: 1%, bake: 25h}" + end:                                `:2: bake: "25h" is not a time`,
		"stages:\n- {share: 1%, max_unavailable: 0}" + end:                       `:2: max_unavailable: "0" is not a number of nodes`,
		"stages:\n- {share: 1%, pause: after}" + end:                             `:2: pause: "after" is no place for a pause`,
		"stages:\n- {share: 1%, pause: before}" + end:                            ":2: stages: nothing comes before the first stage",
		"timeout: 9s\nstages:\n- {count: 1, bake: 10s}" + end:                    ":1: timeout: 9s is shorter than the bake of 10s",
		"timeout: 10s\nstages:\n- {count: 1, bake: 10s}" + end:                   "",
		"gates: [a, a]\nstages:" + end:                                           `:1: gates: "a" is given twice`,
		"gates: [a b]\nstages:" + end:                                            `:1: gates: "a b" is no name of a gate`,
		"gates: [1,2,3,4,5,6,7,8,9]\nstages:" + end:                              ":1: gates: a list of 9; give 1 to 8",
		"on_failure: rollback\nstages:" + end:                                    `:1: on_failure: "rollback" is no reaction`,
		"max_failed: 1%\nstages:" + end:                                          `:1: max_failed: "1%" is not a number of nodes`,
		"max_failed: 1":                                                          ":1: max_failed has no effect without stages",
		"gates: [dns]":                                                           ":1: gates has no effect without stages",
		fmt.Sprintf("stages:\n- nodes: {x: %s}%s", strings.Repeat("x", 65), end): "65 bytes, at most 64 are allowed",
		"stages:" + strings.Repeat("\n- nodes: {role: "+strings.Repeat("x", 60)+"}", 15) + end: ":1: stages: they have ",
	} {
		// The schema does not compare stages, and does not count bytes.
		beyond := strings.Contains(want, "more than") || strings.Contains(want, "last stage") || strings.Contains(want, "comes before") ||
			strings.Contains(want, "shorter") || strings.Contains(want, "they have") || strings.Contains(want, "25h") || strings.Contains(want, "0%")
		if err := refusal(schema(t, "policy.schema.json", ""), text); (err != nil) != (want != "" && !beyond) {
			t.Errorf("the schema: %.200s\n%v\ninstead of %q", text, err, want)
		}
		_, err := ParsePolicy("policy.yml", []byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s\n%v\ninstead of %q", text, err, want)
		}
	}
}

// A policy is printed as it can be read.
func TestPolicyLines(t *testing.T) {
	const text = "stages: [{nodes: {b: 'null', c: web-1, d: '1e3', e: 'No', f: '-', a: 'x\"\\'}, bake: 1h}, {count: 3, max_unavailable: 2}, {share: 0.5%, bake: 61s}, {share: 100%, pause: before}]\n" +
		"max_failed: 3\ntimeout: 2h30m\non_failure: halt\ngates: [a, b-1]\ncontent: {min_lines: 3}\n"
	p, err := ParsePolicy("policy.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := refusal(schema(t, "policy.schema.json", ""), text); err != nil {
		t.Error(err)
	}
	lines := strings.Join(p.Lines(), "\n")
	again, err := ParsePolicy("again.yml", []byte(lines))
	if one, err := p.Marshal(); err != nil || again.Stages == nil {
		t.Fatal(err)
	} else if two, _ := again.Marshal(); string(one) != string(two) {
		t.Errorf("%s\n%s\nprinted as\n%s", one, two, lines)
	}
	if err != nil || !strings.Contains(lines, "bake: 1h\n") || !strings.Contains(lines, "bake: 1m1s\n") || !strings.Contains(lines, "timeout: 2h30m\n") {
		t.Error(lines, err)
	}
	if p.Patience() != 150*time.Minute || p.MaxFailures(5000) != 3 || (rollout.Plan{}).MaxFailures(999) != 0 || (rollout.Plan{}).MaxFailures(1200) != 1 {
		t.Error("the limits of", lines)
	}
}
