package agent_test

import (
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/codec"
	"kvexpress/internal/deliver"
	"kvexpress/internal/fleet"
)

// What is on disk counts, whatever held the agent back, and whenever it began.
func TestReceiptsTellWhatIsOnDisk(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)
	frozen := func(t *testing.T, exec string) *node {
		t.Helper()
		target := deliver.Target{Key: "hosts"}
		if exec != "" {
			target.Exec = []string{"./exec"}
		}
		n := newReporting(t, addr, target)
		n.exec("exec", exec)
		n.config.Reconcile = 300 * time.Millisecond
		n.publish("hosts", "one\n")
		n.start()
		return n
	}

	t.Run("edited under a stop", func(t *testing.T) {
		t.Parallel()
		n := frozen(t, "")
		n.reports("version 1", "hosts", inVersion(1))
		n.stopKey("hosts", "why")
		n.reports("stopped", "hosts", func(t fleet.Target) bool { return t.State == string(agent.Stopped) && t.Version == 1 })
		n.write("hosts", "edited\n")
		n.reports("other bytes", "hosts", func(t fleet.Target) bool {
			return t.Version == 0 && t.SHA256 == codec.Checksum([]byte("edited\n"))
		})
	})
	t.Run("begun again under a stop, with an exec that is owed", func(t *testing.T) {
		t.Parallel()
		n := frozen(t, "exit 1")
		n.reports("owed", "hosts", func(t fleet.Target) bool { return t.Owed && t.Version == 1 && t.Exec != nil })
		n.stopKey("hosts", "why")
		n.reports("stopped", "hosts", func(t fleet.Target) bool { return t.State == string(agent.Stopped) && t.Version == 1 && t.Owed })
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		was, _ := n.receipt()
		n.start()
		until(t, "it reports after the restart", func() bool { r, _ := n.receipt(); return r.Sent.After(was.Sent) })
		n.reports("the same as before", "hosts", func(t fleet.Target) bool {
			return t.State == string(agent.Stopped) && t.Version == 1 && t.Owed && t.Exec != nil
		})
	})
	t.Run("new to the key, after a trouble", func(t *testing.T) {
		t.Parallel()
		n := newReporting(t, addr, deliver.Target{Key: "hosts", MinLines: 2})
		n.publish("hosts", "one\n")
		n.start()
		n.reports("refused", "hosts", func(t fleet.Target) bool { return t.State == string(agent.Refused) })
		n.publish("hosts", "one\ntwo\n")
		if got := n.reports("version 2", "hosts", inVersion(2)); got.Placed == nil || !got.Placed.First {
			t.Errorf("it is new here, and was placed %+v", got.Placed)
		}
	})
}
