package cli

import (
	"strings"
	"testing"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
)

// The first lines of the output of a failed command are below its row, printable.
func TestOutputBelowTheRow(t *testing.T) {
	l := fleet.Line{Node: "web-1", File: "/etc/hosts", Outcome: outcome.Pending, Output: "one\n\x1b[2Jtwo\n3\n4\n5\n6\n7\n"}
	last := fleet.Line{Node: "web-2", Outcome: outcome.Outdated}
	for name, lines := range map[string][]string{
		"status -k":     stragglers(fleet.Report{Stragglers: []fleet.Line{l, last}}, false),
		"status --node": (&nodeReport{NodeReport: fleet.NodeReport{Targets: []fleet.TargetReport{{Line: l}, {Line: last}}}}).lines(),
	} {
		text := strings.Join(lines, "\n")
		want := "\n    one\n    \\x1b[2Jtwo\n    3\n    4\n    5\n    … and 2 more lines, see --json\n"
		if before, after, ok := strings.Cut(text, want); !ok || !strings.Contains(before, "exec pending") || !strings.Contains(after, "outdated") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}
