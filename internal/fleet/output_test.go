package fleet_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
)

// An output is printable whole lines from the end, and no part of a receipt.
func TestOutput(t *testing.T) {
	line := strings.Repeat("x", 62) + "\n"
	for text, want := range map[string]string{
		"":                               "",
		"bad\x1b[2J\r\nline":             `bad\x1b[2J` + "\nline",
		"first\n" + line[1:]:             "first\n" + line[1:],
		strings.Repeat(line, 40):         "…\n" + strings.Repeat(line, 16),
		strings.Repeat("ä", 2000):        "…\n" + strings.Repeat("ä", 510),
		strings.Repeat("y", 3000):        "…\n" + strings.Repeat("y", 1020),
		strings.Repeat("z", 3000) + "\n": "…\n" + strings.Repeat("z", 1019) + "\n",
	} {
		if got := fleet.NewOutput("hosts", "/etc/hosts", text).Text; got != want || len(got) > fleet.MaxOutput {
			t.Errorf("%.20q: got %d bytes, want %d: %q", text, len(got), len(want), got)
		}
	}
	p := fleet.Part{Targets: []fleet.Target{{By: fleet.ByAgent, Key: "hosts", File: "/etc/hosts", Outcome: outcome.Pending}},
		Outputs: []fleet.Output{fleet.NewOutput("hosts", "/etc/hosts", "SECRET")}}
	b, err := json.Marshal(p.Into(fleet.Receipt{}, "web-1", "hub", time.Now(), nil))
	if err != nil || strings.Contains(string(b), "SECRET") {
		t.Errorf("%v: %s", err, b)
	}
}
