//go:build linux

package store

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"kvexpress/test/e2e"
)

// startJob runs a command line beside the test. It can begin with "exec".
func startJob(m *e2e.Machine, name, line string) *e2e.Daemon {
	m.T.Helper()
	return m.Start(name, "/bin/sh", "-c", line)
}

// `consul watch` runs its handler with the current rows, and at each change.
func TestConsulWatch(t *testing.T) {
	onBoth(t, func(t *testing.T, m *e2e.Machine) {
		m = withConsul(m)
		// The handler gets "null", a row, or a list of rows.
		seen := func(j *e2e.Daemon) (all []string) {
			for line := range strings.FieldsFuncSeq(j.Said(), func(r rune) bool { return r == '\n' }) {
				var rows []e2e.Row
				if !strings.HasPrefix(line, "[") && line != "null" {
					line = "[" + line + "]"
				}
				if err := json.Unmarshal([]byte(line), &rows); err != nil {
					t.Fatalf("the handler got %q: %v", line, err)
				}
				var brief []string
				for _, r := range rows {
					brief = append(brief, r.Key+"="+string(r.Value))
				}
				all = append(all, strings.Join(brief, " "))
			}
			return all
		}
		key := startJob(m, "key", "exec consul watch -type=key -key=app/a cat")
		prefix := startJob(m, "prefix", "exec consul watch -type=keyprefix -prefix=app/ cat")
		var keys, prefixes []string
		step := func(ofKey, ofPrefix string) {
			t.Helper()
			add := func(all []string, one string) []string {
				if one == "-" {
					return all
				}
				return append(all, one)
			}
			keys, prefixes = add(keys, ofKey), add(prefixes, ofPrefix)
			e2e.Eventually(t, "the handlers run: "+ofKey+", "+ofPrefix, func() bool {
				return len(seen(key)) >= len(keys) && len(seen(prefix)) >= len(prefixes)
			})
			if got := seen(key); !slices.Equal(got, keys) {
				t.Fatalf("the watch of a key saw %q, want %q", got, keys)
			}
			if got := seen(prefix); !slices.Equal(got, prefixes) {
				t.Fatalf("the watch of a prefix saw %q, want %q", got, prefixes)
			}
		}
		// "-" is a watch that is not woken; it tells with the next step.
		step("", "")
		consul(m, "kv put app/a one")
		step("app/a=one", "app/a=one")
		consul(m, "kv put app/b/c two")
		step("-", "app/a=one app/b/c=two")
		consul(m, "kv put app/a three")
		step("app/a=three", "app/a=three app/b/c=two")
		consul(m, "kv put app/a three") // the same again is no change
		consul(m, "kv put ap/a near")   // and neither is a neighbour
		consul(m, "kv delete app/b/c")
		step("-", "app/a=three")
		consul(m, "kv delete -recurse app/")
		step("", "")
		consul(m, "kv put app/a four")
		step("app/a=four", "app/a=four")

		// Without a handler it prints the current rows, and ends.
		var one e2e.Row
		if err := json.Unmarshal([]byte(consul(m, "watch -type=key -key=app/a")), &one); err != nil || string(one.Value) != "four" {
			t.Errorf("watch without a handler gives %+v, %v", one, err)
		}
	})
}
