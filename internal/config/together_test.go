package config

import "testing"

func TestGroupGivenTwice(t *testing.T) {
	for _, keys := range []string{"owner: root:8\n  group: 7", "group: 7\n  owner: root:8"} {
		_, err := load(t, map[string]string{"agent.yml": "targets:\n- key: a\n  file: /a\n  " + keys})
		wantError(t, err, "agent.yml:5 twice")
	}
}

func TestExecEvery(t *testing.T) {
	const good = `
- {key: a, file: /a, exec: reload x, exec_every: 30s}
- {key: b, file: /b, exec: [reload, x], exec_every: 30s}
- {key: c, file: /c, exec: reload x, exec_every: 1m, exec_timeout: 9s}
- {key: d, file: /d, exec: reload x, restore_on_failure: true}
- {key: e, file: /e, exec: reload y}
- {key: f, file: /f, exec: 'reload {file}', exec_every: 1m}
- {key: g, file: /g, exec: 'reload {file}'}
`
	if c, err := load(t, map[string]string{"agent.yml": "targets:" + good}); err != nil || len(c.Targets) != 7 {
		t.Fatalf("%d targets, %v", len(c.Targets), err)
	}
	for _, bad := range []string{
		"- {key: x, file: /x, exec: reload x, exec_every: 31s}", "- {key: x, file: /x, exec: reload x}",
		"- {key: x, file: /x, exec: reload y, exec_every: 30s}",
		"- {key: x, file: /x, exec: z, exec_every: 30s, restore_on_failure: true}", "- {key: x, file: /x, exec_every: 30s}",
	} {
		_, err := load(t, map[string]string{"agent.yml": "targets:" + good + bad})
		wantError(t, err, "agent.yml:9 exec_every")
	}
}
