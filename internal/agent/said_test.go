package agent_test

import (
	"errors"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// An out says the same of its delivery as an agent would, and nothing that a command
// printed.
func TestSaid(t *testing.T) {
	now := time.Now()
	installed := install.Result{Key: "hosts", File: "/h", Action: install.Installed, Lineage: "l", Version: 3, SHA256: "new",
		Before: "old", Placed: now.Add(-time.Second)}
	if got := agent.OutReceipt(installed, nil, now); got.Outcome != outcome.Converged || got.By != fleet.ByOut || got.Version != 3 ||
		got.SHA256 != "new" || got.Placed == nil || got.Placed.First || time.Duration(got.Placed.Age) != time.Second {
		t.Errorf("%+v", got)
	}
	first := installed
	first.Before = ""
	if got := agent.OutReceipt(first, nil, now); !got.Placed.First {
		t.Errorf("%+v", got.Placed)
	}
	failed := install.Result{Key: "hosts", File: "/h", Lineage: "l", Version: 3, SHA256: "new", Before: "old"}
	if got := agent.OutReceipt(failed, errors.New("disk full"), now); got.Outcome != outcome.Failed || got.Version != 0 || got.SHA256 != "old" ||
		got.Placed != nil || got.Detail != "disk full" {
		t.Errorf("%+v", got)
	}
}
