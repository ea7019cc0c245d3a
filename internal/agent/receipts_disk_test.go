package agent_test

import (
	"errors"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
)

// A receipt reports the bytes on disk, whatever held the agent back, also after a restart.
func TestReceiptsTellWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)
	frozen := func(t *testing.T, exec string) *node {
		t.Helper()
		target := install.Target{Key: "hosts"}
		if exec != "" {
			target.Exec = []string{"./exec"}
		}
		n := newNode(t, addr, target).reporting(300 * time.Millisecond)
		n.exec("exec", exec)
		n.change = hasty
		n.publish("hosts", "one\n")
		n.start()
		return n
	}

	beside(t, "edited under a stop", func(t *testing.T) {
		n := frozen(t, "")
		n.told("version 1", "hosts", version(1))
		n.stopKey("hosts", "why")
		n.told("stopped", "hosts",
			func(_ fleet.Receipt, t fleet.Target) bool {
				return t.Outcome == outcome.Stopped && t.Version == 1
			})
		n.write("hosts", "edited\n")
		n.told("other bytes", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return t.Version == 0 && t.SHA256 == record.Checksum([]byte("edited\n"))
		})
	})
	beside(t, "begun again under a stop, with an exec that is pending", func(t *testing.T) {
		n := frozen(t, "exit 1")
		n.told("pending", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return t.ExecPending && t.Version == 1 && t.Exec != nil
		})
		n.stopKey("hosts", "why")
		n.told("stopped", "hosts", func(_ fleet.Receipt, t fleet.Target) bool {
			return t.Outcome == outcome.Stopped && t.Version == 1 && t.ExecPending
		})
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		was, _, _ := n.stored(host)
		n.start()
		n.told("the same as before", "hosts", func(r fleet.Receipt, t fleet.Target) bool {
			return r.Sent.After(was.Sent) && t.Outcome == outcome.Stopped && t.Version == 1 && t.ExecPending && t.Exec != nil
		})
	})
	beside(t, "new to the key, after a trouble", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts", MinLines: 2}).reporting(time.Hour)
		n.publish("hosts", "one\n")
		n.start()
		n.told("refused", "hosts", func(_ fleet.Receipt, t fleet.Target) bool { return t.Outcome == outcome.Refused })
		n.publish("hosts", "one\ntwo\n")
		if got := n.told("version 2", "hosts", version(2)).Targets[0]; got.Placed == nil || !got.Placed.First {
			t.Errorf("it is new here, and was placed %+v", got.Placed)
		}
	})
}

// An out reports the same of its delivery as an agent, without the output of commands.
func TestOutReceipt(t *testing.T) {
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
	if got := agent.OutReceipt(failed, errors.New("disk full"), now); got.Outcome != outcome.Failed || got.Version != 0 ||
		got.SHA256 != "old" || got.Placed != nil || got.Detail != "disk full" {
		t.Errorf("%+v", got)
	}
}
