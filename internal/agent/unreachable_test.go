package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
)

// gone waits until a target reports an unreachable store, with content in place.
func (n *node) gone(i int, content string) {
	n.t.Helper()
	s := n.state(i, outcome.Unreachable)
	if s.Detail == "" {
		n.t.Errorf("%+v", s)
	}
	if got := n.file(n.config.Targets[i].File[len(n.dir)+1:]); got != content {
		n.t.Errorf("the file holds %q, want %q", got, content)
	}
	if s := n.agent.Status().Store; s.Up || s.Since == nil || s.Error == "" {
		n.t.Errorf("%+v", s)
	}
	if err := n.agent.Healthy(); err != nil {
		n.t.Error(err)
	}
}

// A server in memory comes back with nothing, and with lower indexes.
func TestRebuilt(t *testing.T) {
	t.Parallel()
	server := consultest.Start(t)
	n := newNode(t, server.Addr, install.Target{Key: "hosts"})
	for i := range 20 { // the index is far ahead of what the new one will have
		n.publish("hosts", fmt.Sprintf("before %d\n", i))
	}
	n.start()
	n.current(0, "before 19\n")
	server.Kill()
	n.gone(0, "before 19\n")
	server.Restart()
	n.state(0, outcome.Missing)
	if got := n.file("hosts"); got != "before 19\n" {
		t.Errorf("the file holds %q", got)
	}
	n.publish("hosts", "after\n")
	if s := n.current(0, "after\n"); s.Version != 1 {
		t.Errorf("%+v", s)
	}
	// after the state
	until(t, "the log tells of another lineage", func() bool { return strings.Contains(n.log.String(), "of another lineage") })
}

func TestCut(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "unreachable from the start", func(t *testing.T) {
		line := newLine(t, addr)
		line.cut()
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Store.Addrs = []string{line.addr}
		n.publish("hosts", "one\n")
		n.start()
		n.gone(0, "")
		if err := n.agent.Ready(); err == nil {
			t.Error("it is ready, and no answer of the store tells the content of the file")
		}
		line.mend()
		n.current(0, "one\n")
		n.well()
	})

	// As during an election: any server answers the watch, and none the read.
	beside(t, "for a read alone", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.begin("one\n")
		n.tally.fail.Store(1)
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
	})

	beside(t, "for a read without a change", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts", Exec: []string{"./exec"}})
		n.exec("exec", "test -e good")
		n.change = hasty
		n.publish("hosts", "one\n")
		n.start()
		until(t, "it is tried again", func() bool { return n.status(0).Counts.ExecFail > 1 })
		n.tally.fail.Store(1)
		until(t, "it fails", func() bool { return n.tally.fail.Load() <= 0 })
		n.write("good", "")
		n.current(0, "one\n")
	})

	beside(t, "another one is there", func(t *testing.T) {
		line := newLine(t, addr)
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Store.Addrs = []string{line.addr, addr}
		n.begin("one\n")
		line.cut()
		until(t, "the other one is asked", func() bool { s := n.agent.Status().Store; return s.Up && s.Addr == addr })
		n.publish("hosts", "two\n")
		n.current(0, "two\n")
	})

	beside(t, "frozen meanwhile", func(t *testing.T) {
		line := newLine(t, addr)
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Store.Addrs = []string{line.addr}
		n.begin("one\n")
		n.lock("hosts", "busy", time.Time{})
		n.publish("hosts", "two\n")
		n.held(0, outcome.Locked, "busy", "one\n")
		line.cut()
		n.gone(0, "one\n")
		line.mend()
		n.held(0, outcome.Locked, "busy", "one\n")
		line.cut()
		n.gone(0, "one\n")
		n.unlock("hosts")
		line.mend()
		n.current(0, "two\n")
	})
}
