package cli

import (
	"errors"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// `out` ends with the code of its outcome. TestAgentStatusExitCodes has those of `agent status --strict`.
func TestExitCodesOfOutcomes(t *testing.T) {
	t.Parallel()
	for o, err := range map[outcome.Outcome]error{
		outcome.Converged: nil, outcome.Stopped: &gate.Stopped{}, outcome.Locked: &gate.Locked{}, outcome.Missing: &gate.Missing{},
		outcome.Refused: &gate.Refusal{}, outcome.Older: &gate.Refusal{}, outcome.Denied: kv.ErrDenied,
		outcome.Unreachable: kv.ErrUnreachable, outcome.Pending: &install.ExecError{}, outcome.Failed: errors.New("disk full"),
	} {
		row := outcome.All()[o.Rank()]
		if got := exitCode(err); got != row.Exit {
			t.Errorf("%s: out exits %d, want %d", o, got, row.Exit)
		}
	}
}
