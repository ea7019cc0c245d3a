package agent_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// held expects a target to be frozen for a reason, with content in place.
func (n *node) held(i int, state outcome.Outcome, reason, content string) {
	n.t.Helper()
	if s := n.state(i, state); !strings.Contains(s.Detail, reason) || s.Counts.Refusals[string(state)] == 0 {
		n.t.Errorf("%+v", s)
	}
	if got := n.file(n.config.Targets[i].File[len(n.dir)+1:]); got != content {
		n.t.Errorf("the file holds %q, want %q", got, content)
	}
	n.well()
}

// reconciles waits for so many more reconciles of a target.
func (n *node) reconciles(i int, more uint64) {
	n.t.Helper()
	from := n.status(i).Counts.Reconciles
	until(n.t, "more reconciles", func() bool { return n.status(i).Counts.Reconciles >= from+more })
}

func TestFrozen(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "a stop holds new versions back, until resume", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.begin("one\n")
		n.stopKey("hosts", "no more today")
		n.publish("hosts", "two\n")
		n.held(0, outcome.Stopped, "no more today", "one\n")
		n.publish("hosts", "three\n")
		n.resume("hosts")
		n.current(0, "three\n")
		n.publish("hosts", "four\n") // it is the data that is watched again
		n.current(0, "four\n")
	})

	beside(t, "a stop from before the agent's start", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.stopKey("hosts", "not yet")
		n.publish("hosts", "one\n")
		n.start()
		n.held(0, outcome.Stopped, "not yet", "")
		n.stopKey("hosts", "another reason")
		until(t, "the other reason", func() bool { return strings.Contains(n.status(0).Detail, "another reason") })
		n.resume("hosts")
		n.current(0, "one\n")
	})

	beside(t, "a lock holds one node", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"}, install.Target{Key: "hosts", File: "other"})
		n.begin("one\n")
		n.lock("hosts", "I debug", time.Time{})
		n.publish("hosts", "two\n")
		n.current(1, "two\n")
		n.held(0, outcome.Locked, "I debug", "one\n")
		n.unlock("hosts")
		n.current(0, "two\n")
		n.publish("hosts", "three\n")
		n.current(0, "three\n")
	})

	beside(t, "a lock ends by itself", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.begin("one\n")
		n.lock("hosts", "for a moment", time.Now().Add(2*time.Second))
		n.publish("hosts", "two\n")
		n.held(0, outcome.Locked, "for a moment", "one\n")
		n.current(0, "two\n")
		// The row of the expired lock is still there.
		n.publish("hosts", "three\n")
		n.current(0, "three\n")
	})

	beside(t, "a lock that gets an end", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.publish("hosts", "one\n")
		n.lock("hosts", "for ever", time.Time{})
		n.start()
		n.held(0, outcome.Locked, "for ever", "")
		n.lock("hosts", "not for ever", time.Now().Add(2*time.Second))
		n.current(0, "one\n")
	})

	beside(t, "a repair", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Reconcile = 200 * time.Millisecond
		n.begin("one\n")
		n.lock("hosts", "my own version", time.Time{})
		n.held(0, outcome.Locked, "my own version", "one\n") // a reconcile finds it
		if err := os.Remove(n.path("hosts")); err != nil {
			t.Fatal(err)
		}
		n.reconciles(0, 3)
		n.held(0, outcome.Locked, "my own version", "")
		n.unlock("hosts")
		n.current(0, "one\n")
	})
}
