package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli/render"
)

func (a *App) newAgentStatus(g *globals) *cobra.Command {
	var listen string
	var strict bool
	cmd := a.without(g, "agent status", uses("config json"), func(cmd *cobra.Command) (report, error) {
		addr, err := a.agentAddress(g, listen)
		if err != nil {
			return nil, err
		}
		status, raw, err := askAgent(cmd.Context(), addr)
		if err != nil {
			return nil, err
		}
		r := &agentReport{Status: status, raw: raw, now: time.Now(), colour: a.colour()}
		if strict {
			err = r.verdict()
		}
		return r, err
	})
	cmd.Flags().StringVar(&listen, "listen", "",
		"`address` of the agent: its socket, or host:port (default: from the configuration)")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with the code of the first unhealthy target")
	return cmd
}

// agentReport is a status for people, or, for JSON, as the agent sent it: it may
// be a later one that says more.
type agentReport struct {
	agent.Status
	raw    json.RawMessage
	now    time.Time // in the zone in which times are shown
	colour bool
}

// MarshalJSON implements json.Marshaler: it is the answer of the agent.
func (r *agentReport) MarshalJSON() ([]byte, error) { return r.raw, nil }

// verdict is the error of --strict.
func (r *agentReport) verdict() error {
	var bad []agent.TargetStatus
	for _, t := range r.Targets {
		if strictExit(t.Outcome) != exitOK && !t.ExecWaits() {
			bad = append(bad, t)
		}
	}
	if silent := r.NoContact(r.now); len(bad) == 0 && silent != "" {
		return &strictError{fmt.Errorf("%s: %s", r.Node, silent), exitStore}
	} else if len(bad) == 0 {
		return nil
	}
	err := fmt.Errorf("%s is unhealthy: %s (key %s)", bad[0].File, bad[0].Outcome.Text(), bad[0].Key)
	if len(bad) > 1 {
		err = fmt.Errorf("%d of %s are unhealthy; first: %w", len(bad), render.Plural(len(r.Targets), "target"), err)
	}
	return &strictError{err, strictExit(bad[0].Outcome)}
}
