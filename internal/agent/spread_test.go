package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/record"
)

// spread makes all targets of a node wait with new versions.
func (n *node) spread(d time.Duration) {
	for i := range n.config.Targets {
		n.config.Targets[i].Spread = d
	}
}

// waits expects a target to wait with content in place.
func (n *node) waits(i int, content string) {
	n.t.Helper()
	if s := n.state(i, outcome.Waiting); s.Detail == "" {
		n.t.Errorf("%+v", s)
	}
	if got := n.file(n.config.Targets[i].File[len(n.dir)+1:]); got != content {
		n.t.Errorf("the file holds %.20q, want %.20q", got, content)
	}
	n.well()
}

// names are of two nodes. Because of its name, one hardly waits, and the other for most
// of the spread.
func names() (early, late string) {
	for i := 0; early == "" || late == ""; i++ {
		name := fmt.Sprintf("web-%d", i)
		switch x := agent.Share(name); {
		case x < 0.02:
			early = name
		case x > 0.7 && x < 0.9:
			late = name
		}
	}
	return early, late
}

func TestSpread(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "a new version waits, and those that come meanwhile with it", func(t *testing.T) {
		early, late := names()
		n := newNode(t, addr, install.Target{Key: "hosts", Exec: []string{"./exec"}})
		n.exec("exec", "cat hosts >> log")
		n.config.Node = late
		n.spread(5 * time.Second)
		first := newNode(t, addr, install.Target{Key: "hosts"})
		first.layout, first.config.Layout, first.config.Node = n.layout, n.layout, early
		first.spread(5 * time.Second)

		n.publish("hosts", "one\n")
		n.start()
		first.start()
		n.current(0, "one\n")
		first.current(0, "one\n")
		rounds := times(10)
		for range rounds {
			n.publish("hosts", "two\n")
			first.current(0, "two\n")
			n.waits(0, "one\n")
			n.publish("hosts", "three\n")
			n.publish("hosts", "four\n")
			first.current(0, "four\n")
			n.waits(0, "one\n")
			n.current(0, "four\n")
			n.publish("hosts", "one\n")
			n.waits(0, "four\n")
			n.current(0, "one\n")
		}
		if got := strings.Join(n.lines("log"), " "); got != "one"+strings.Repeat(" four one", rounds) {
			t.Errorf("the exec ran for %s", got)
		}
	})

	// With an hour of time, whatever arrives has not waited.
	hour := func(t *testing.T, addr string) *node {
		t.Helper()
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.spread(time.Hour)
		n.begin("one\n")
		return n
	}

	beside(t, "nothing new does not wait", func(t *testing.T) {
		line := newLine(t, addr)
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Store.Addrs = []string{line.addr}
		n.spread(time.Hour)
		n.start()
		n.state(0, outcome.Missing)
		n.publish("hosts", "one\n")
		n.current(0, "one\n")
		n.stopKey("hosts", "a stop")
		n.publish("hosts", "two\n")
		n.held(0, outcome.Stopped, "a stop", "one\n")
		n.publish("hosts", "one\n")
		n.resume("hosts")
		n.current(0, "one\n")
		line.cut()
		n.gone(0, "one\n")
		line.mend()
		n.current(0, "one\n")
		n.publish("hosts", "three\n")
		n.waits(0, "one\n")
		line.cut()
		n.gone(0, "one\n")
		line.mend()
		n.waits(0, "one\n")
		n.publish("hosts", "one\n") // taken back
		n.current(0, "one\n")
	})

	beside(t, "what a lock held back does not wait", func(t *testing.T) {
		n := hour(t, addr)
		n.lock("hosts", "a lock", time.Time{})
		n.publish("hosts", "two\n")
		n.held(0, outcome.Locked, "a lock", "one\n")
		n.unlock("hosts")
		n.current(0, "two\n")
		n.publish("hosts", "three\n")
		n.waits(0, "two\n")
	})

	beside(t, "what a stop held back waits", func(t *testing.T) {
		n := hour(t, addr)
		n.stopKey("hosts", "a stop")
		n.publish("hosts", "two\n")
		n.held(0, outcome.Stopped, "a stop", "one\n")
		n.resume("hosts")
		n.waits(0, "one\n")
	})

	beside(t, "a stop while it waits", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		_, n.config.Node = names()
		n.spread(3 * time.Second)
		n.begin("one\n")
		n.publish("hosts", "two\n")
		n.waits(0, "one\n")
		n.stopKey("hosts", "a stop")
		n.held(0, outcome.Stopped, "a stop", "one\n")
		n.resume("hosts")
		n.current(0, "two\n")
	})

	beside(t, "a repair does not wait", func(t *testing.T) {
		n := newNode(t, addr, install.Target{Key: "hosts"})
		n.config.Reconcile = 200 * time.Millisecond
		n.spread(time.Hour)
		n.begin("one\n")
		n.write("hosts", "by hand\n")
		until(t, "it is right again", func() bool { return n.file("hosts") == "one\n" })
	})
}

// In a storm of versions the last one is delivered, but not every one.
func TestStorm(t *testing.T) {
	t.Parallel()
	n := newNode(t, storeAddr(t), install.Target{Key: "hosts", Exec: []string{"./exec"}})
	n.exec("exec", "cat hosts >> log")
	n.begin("before\n")
	versions, since := times(2000), time.Now()
	for i := range versions {
		content := fmt.Sprintf("version %d\n", i) // in one request, so that a slow machine is fast enough
		n.commit(kv.Op{Verb: kv.Set, Path: n.layout.Data("hosts"), Value: []byte(content)},
			kv.Op{Verb: kv.Set, Path: n.layout.Checksum("hosts"), Value: []byte(record.Checksum([]byte(content)))})
	}
	last := fmt.Sprintf("version %d\n", versions-1)
	s := n.current(0, last)
	// A burst of ten, then four a second.
	most := uint64(time.Since(since)/(250*time.Millisecond)) + 15
	if s.Counts.Reconciles > most || int(most) > versions {
		t.Errorf("%d reconciles for %d versions, at most %d are to be", s.Counts.Reconciles, versions, most)
	}
	if log := n.lines("log"); uint64(len(log)) != s.Counts.ExecOK || log[len(log)-1]+"\n" != last || len(log) > int(most) {
		t.Errorf("the exec ran %d times, the last time for %q", len(log), log[len(log)-1])
	}
	n.well()
}
