package agent_test

import (
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
)

// What is on disk counts, whatever held the agent back, and whenever it began.
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
	beside(t, "begun again under a stop, with an exec that is owed", func(t *testing.T) {
		n := frozen(t, "exit 1")
		n.told("owed", "hosts", func(_ fleet.Receipt, t fleet.Target) bool { return t.ExecPending && t.Version == 1 && t.Exec != nil })
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
