package agent_test

import (
	"fmt"
	"strings"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// Checks and execs that do not end, more than deliveries work at a time, and a target without. It does not wait for
// them. Taken out: that a delivery gives back its share while a command runs; then it does.
func TestNobodyWaitsForCommandsOfOthers(t *testing.T) {
	t.Parallel()
	var all []install.Target
	for i := range 12 {
		target := install.Target{Key: kv.Key(fmt.Sprint("k", i))}
		hang := []string{"/bin/sh", "-c", "echo x >>hangs; sleep 600", install.FileMark}
		switch {
		case i < 6:
			target.Check = hang
		case i < 11:
			target.Exec, target.RestoreOnFailure = hang, true
		}
		all = append(all, target)
	}
	n := newNode(t, storeAddr(t), all...)
	for i := range n.config.Targets {
		for _, argv := range [][]string{n.config.Targets[i].Check, n.config.Targets[i].Exec} {
			if len(argv) > 0 {
				argv[2] = strings.ReplaceAll(argv[2], "hangs", n.path("hangs"))
			}
		}
	}
	for i := range 11 {
		n.publish(all[i].Key, "one\n")
		n.write(string(all[i].Key), "zero\n")
	}
	n.start()
	until(t, "eleven commands run", func() bool { return strings.Count(n.file("hangs"), "x") == 11 })
	n.publish(all[11].Key, "one\n")
	n.current(11, "one\n")
	if got := n.status(0).Outcome; got != outcome.Starting {
		t.Errorf("one whose check runs is %s", got)
	}
}
