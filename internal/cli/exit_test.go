package cli

import (
	"errors"
	"testing"

	"kvexpress/internal/gate"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// `out` and `agent status --strict` end with the same code for the same outcome.
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
		want := row.Exit
		if row.Strict {
			want = exitOK
		}
		if got := strictExit(o); got != want {
			t.Errorf("%s: agent status exits %d, want %d", o, got, want)
		}
	}
	for _, o := range []outcome.Outcome{outcome.Starting, "levitating"} {
		if strictExit(o) != exitOther {
			t.Errorf("%s is not a failure", o)
		}
	}
}
