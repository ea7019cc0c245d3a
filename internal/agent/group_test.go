package agent_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// newGroup is a node with three targets that have one exec. It logs the keys for
// which it ran, one line a run, and succeeds while there is a file "good".
func newGroup(t testing.TB, addr string) *node {
	exec := []string{"./exec"}
	n := newNode(t, addr, install.Target{Key: "a", Exec: exec}, install.Target{Key: "b", Exec: exec},
		install.Target{Key: "c", Exec: exec})
	n.exec("exec", `
		test $(echo "$KVEXPRESS_SHA256" | wc -l) = $(echo "$KVEXPRESS_KEY" | wc -l) || echo wrong >> log
		test $(echo "$KVEXPRESS_VERSION" | wc -l) = $(echo "$KVEXPRESS_KEY" | wc -l) || echo wrong >> log
		echo "$KVEXPRESS_FILE" | xargs -n 1 basename | tr '\n' ' ' >> log
		echo >> log
		test -e good`)
	n.change = hasty
	return n
}

func (n *node) each(content string, keys ...kv.Key) {
	n.t.Helper()
	for _, key := range keys {
		n.publish(key, string(key)+" "+content+"\n")
	}
}

// ran checks for which files the exec ran, in any number of runs: how many files come together depends on the machine's load.
func (n *node) ran(want ...string) {
	n.t.Helper()
	if got := slices.Sorted(slices.Values(strings.Fields(n.file("log")))); !slices.Equal(got, want) {
		n.t.Errorf("it ran like this:\n%s", n.file("log"))
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)

	beside(t, "runs once for each version", func(t *testing.T) {
		n := newGroup(t, addr)
		n.write("good", "")
		n.each("one", "a", "b", "c")
		n.start()
		for i, key := range []string{"a", "b", "c"} {
			if s := n.current(i, key+" one\n"); s.Exec.Pending || s.Counts.ExecOK != 1 {
				t.Errorf("%+v, %+v", s, s.Exec)
			}
		}
		n.each("two", "a", "b", "c")
		for i, key := range []string{"a", "b", "c"} {
			n.current(i, key+" two\n")
		}
		// An unchanged target is not part of the run.
		n.each("three", "b")
		n.current(1, "b three\n")
		n.ran("a", "a", "b", "b", "b", "c", "c")
		if log := n.lines("log"); log[len(log)-1] != "b " {
			t.Errorf("it ran like this:\n%s", n.file("log"))
		}
		for i, want := range []uint64{2, 3, 2} {
			if s := n.status(i); s.Counts.ExecOK != want || s.Counts.ExecFail != 0 {
				t.Errorf("%s: %+v", s.Key, s.Counts)
			}
		}
		n.well()
	})

	beside(t, "leaves out frozen targets", func(t *testing.T) {
		n := newGroup(t, addr)
		n.each("one", "a", "b", "c")
		n.start()
		until(t, "it fails", func() bool { return n.status(1).Counts.ExecFail > 0 })
		n.lock("b", "I debug", time.Time{})
		n.state(1, outcome.Locked)
		n.write("good", "")
		n.current(0, "a one\n")
		n.current(2, "c one\n")
		s := n.state(1, outcome.Locked)
		if !s.Exec.Pending || s.Counts.ExecOK != 0 {
			t.Errorf("%+v, %+v", s, s.Exec)
		}
		if log := n.lines("log"); log[len(log)-1] != "a c " {
			t.Errorf("it ran like this:\n%s", n.file("log"))
		}
		n.unlock("b")
		if s := n.current(1, "b one\n"); s.Exec.Pending || s.Counts.ExecOK != 1 {
			t.Errorf("%+v, %+v", s, s.Exec)
		}
		if log := n.lines("log"); log[len(log)-1] != "b " {
			t.Errorf("it ran like this:\n%s", n.file("log"))
		}
		s = n.status(1)
		if ran := uint64(strings.Count(n.file("log"), "b")); ran != s.Counts.ExecOK+s.Counts.ExecFail {
			t.Errorf("it ran %d times for it; %d failures are counted", ran, s.Counts.ExecFail)
		}
	})

	beside(t, "the store becomes unreachable before it ran", func(t *testing.T) {
		line := newLine(t, addr)
		n := newGroup(t, addr)
		n.config.Store.Addrs = []string{line.addr}
		n.each("one", "a", "b", "c")
		n.start()
		until(t, "it fails", func() bool { return n.status(1).Counts.ExecFail > 0 })
		line.cut()
		n.state(0, outcome.Unreachable)
		n.write("good", "")
		<-time.After(300 * time.Millisecond)
		ran := n.file("log")
		<-time.After(300 * time.Millisecond) // locks and stops are not known
		if got := n.file("log"); got != ran {
			t.Errorf("it ran like this:\n%s", got)
		}
		line.mend()
		for i, key := range []string{"a", "b", "c"} {
			n.current(i, key+" one\n")
		}
	})

	beside(t, "a target is taken out, another is changed", func(t *testing.T) {
		n := newGroup(t, addr)
		exec := n.config.Targets[0].Exec
		n.config.Targets = append(n.config.Targets, n.target(install.Target{Key: "d", Exec: exec}))
		n.each("one", "a", "b", "c", "d")
		n.start()
		for i := range 4 {
			until(t, "it fails", func() bool { return n.status(i).Counts.ExecFail > 0 })
		}
		targets := slices.Clone(n.config.Targets[1:])
		mode := fs.FileMode(0o604)
		targets[0].Mode = &mode
		n.config.Targets = targets
		if err := n.agent.Reload(n.config); err != nil {
			t.Fatal(err)
		}
		n.write("log", "")
		until(t, "it runs again", func() bool { return slices.Contains(n.lines("log"), "b c d ") })
		n.write("good", "")
		for i, key := range []string{"b", "c", "d"} {
			n.current(i, key+" one\n")
		}
		// "a" has left the configuration.
		log := n.lines("log")
		if strings.Contains(strings.Join(log[1:], ""), "a") {
			t.Errorf("it ran like this:\n%s", n.file("log"))
		}
	})
}
