package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
)

// lines are the lines of a log that an exec of the node writes.
func (n *node) lines(name string) []string {
	return strings.FieldsFunc(n.file(name), func(r rune) bool { return r == '\n' })
}

// hasty makes an agent that retries almost at once.
func hasty(o *agent.Options) { agent.Paced(o, 20*time.Millisecond, 100*time.Millisecond) }

// waiting is a script that says that it began, and then waits for a file.
func waiting(file string) string {
	return fmt.Sprintf("echo began >> log; while ! test -e %s; do sleep 0.02; done; cat hosts >> log", file)
}

func TestExec(t *testing.T) {
	t.Parallel()
	addr := storeAddr(t)
	target := install.Target{Key: "hosts", Exec: []string{"./exec"}}

	beside(t, "one that fails is tried again", func(t *testing.T) {
		n := newNode(t, addr, target)
		n.exec("exec", "cat hosts >> log; test -e good")
		n.change = hasty
		n.publish("hosts", "one\n")
		n.start()
		until(t, "it has failed a few times", func() bool { return n.status(0).Counts.ExecFail > 3 })
		answered := n.tally.answered.Load()
		s := n.state(0, outcome.Pending)
		if s.Exec == nil || !s.Exec.Pending || s.Exec.Failures < 3 || s.Exec.Exit != 1 || s.Exec.Retry == nil || s.Exec.Last == nil ||
			s.SHA256 == "" || !strings.Contains(s.Detail, "exit status 1") {
			t.Errorf("%+v, %+v", s, s.Exec)
		}
		n.well()
		until(t, "it has failed a few times more", func() bool { return n.status(0).Counts.ExecFail > 6 })
		if data := n.tally.data.Load(); data != 0 || n.tally.answered.Load() != answered {
			t.Errorf("to try again it read the data %d times, and watched it %d times", data, n.tally.answered.Load()-answered)
		}
		n.write("good", "")
		s = n.current(0, "one\n")
		if s.Exec.Pending || s.Exec.Failures != 0 || s.Exec.Exit != 0 || s.Exec.Retry != nil || s.Counts.ExecOK != 1 ||
			s.Counts.Installs != 1 {
			t.Errorf("%+v, %+v", s, s.Exec)
		}
		if ran := len(n.lines("log")); ran != int(s.Counts.ExecFail+s.Counts.ExecOK) {
			t.Errorf("it ran %d times; %d failures and %d successes are counted", ran, s.Counts.ExecFail, s.Counts.ExecOK)
		}
		reconciles := s.Counts.Reconciles
		n.publish("hosts", "two\n")
		s = n.current(0, "two\n")
		if s.Counts.ExecOK != 2 || s.Counts.Reconciles != reconciles+1 {
			t.Errorf("%+v", s)
		}
	})

	beside(t, "the agent ends while it runs", func(t *testing.T) {
		n := newNode(t, addr, target)
		n.exec("exec", waiting("go"))
		n.publish("hosts", "one\n")
		n.start()
		until(t, "it runs", func() bool { return len(n.lines("log")) == 1 })
		if err := n.stop(); err != nil {
			t.Fatal(err)
		}
		if got := n.file("hosts"); got != "one\n" {
			t.Errorf("the file holds %q", got)
		}
		n.write("go", "")
		n.start()
		if s := n.current(0, "one\n"); s.Counts.ExecOK != 1 || s.Counts.Installs != 0 || s.Counts.ExecFail != 0 {
			t.Errorf("%+v", s)
		}
		if got := n.file("log"); got != "began\nbegan\none\n" {
			t.Errorf("it ran like this:\n%s", got)
		}
	})

	beside(t, "new versions while it runs", func(t *testing.T) {
		n := newNode(t, addr, target)
		n.exec("exec", waiting("go"))
		n.publish("hosts", "one\n")
		n.start()
		until(t, "it runs", func() bool { return len(n.lines("log")) == 1 })
		for i := range 5 {
			n.publish("hosts", fmt.Sprintf("later %d\n", i))
		}
		if err := n.agent.Healthy(); err != nil {
			t.Error(err)
		}
		n.write("go", "")
		n.current(0, "later 4\n")
		if got := n.file("log"); got != "began\none\nbegan\nlater 4\n" {
			t.Errorf("it ran like this:\n%s", got)
		}
	})

	beside(t, "the old bytes come back", func(t *testing.T) {
		target := target
		target.RestoreOnFailure = true
		n := newNode(t, addr, target)
		n.exec("exec", "cat hosts >> log; grep good hosts")
		n.change = hasty
		n.begin("good\n")
		n.publish("hosts", "bad\n")
		until(t, "it has failed a few times", func() bool { return n.status(0).Counts.ExecFail > 2 })
		n.publish("hosts", "good too\n")
		if s := n.current(0, "good too\n"); s.Version != 3 || s.Exec.Pending {
			t.Errorf("%+v, %+v", s, s.Exec)
		}
		for i, line := range n.lines("log") {
			if want := []string{"good", "bad"}[i%2]; line != want && line != "good too" {
				t.Errorf("it ran like this:\n%s", n.file("log"))
				break
			}
		}
		n.change = nil
		n.publish("hosts", "bad again\n")
		s := n.state(0, outcome.Pending)
		if s.Version != 3 || !strings.Contains(s.Detail, "old content") {
			t.Errorf("%+v", s)
		}
		until(t, "the old content is back", func() bool { return n.file("hosts") == "good too\n" }) // a retry may be under way
	})
}
