package agent_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
)

// More checks and execs hang than installs may run at a time. A target without commands does not wait for them, because an
// install gives back its share while a command runs.
func TestCommandsHoldUpNoOtherTarget(t *testing.T) {
	t.Parallel()
	const hanging = 18 // 16 installs of 4 MiB fill the limit of 64 MiB
	var all []install.Target
	for i := range hanging + 1 {
		target := install.Target{Key: kv.Key(fmt.Sprint("k", i))}
		hang := []string{"/bin/sh", "-c", "echo x >>hangs; sleep 600", install.FileMark}
		switch {
		case i < hanging/2:
			target.Check = hang
		case i < hanging:
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
	for i := range hanging {
		n.publish(all[i].Key, "one\n")
		n.write(string(all[i].Key), "zero\n")
	}
	n.start()
	until(t, "all commands run", func() bool { return strings.Count(n.file("hangs"), "x") == hanging })
	n.publish(all[hanging].Key, "one\n")
	n.current(hanging, "one\n")
	if got := n.status(0).Outcome; got != outcome.Starting {
		t.Errorf("one whose check runs is %s", got)
	}
}

// Huge rows in place of checksums fill an answer to the poller. The poller splits the read, so the other targets are still
// read. Otherwise all polled targets would count as unreachable.
func TestHugeRowsAmongPolledOnes(t *testing.T) {
	t.Parallel()
	const first, targets = 60, 80
	var all []install.Target
	for i := range targets {
		all = append(all, install.Target{Key: kv.Key(fmt.Sprint("k", i))})
	}
	n := newNode(t, storeAddr(t), all...)
	for i := first; i < targets-1; i++ {
		path := n.layout.Checksum(all[i].Key)
		if err := n.store.Put(t.Context(), path, bytes.Repeat([]byte("x"), kv.MaxValue), 0); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	for i := range first {
		n.state(i, outcome.Missing)
	}
	n.publish(all[targets-1].Key, "one\n")
	n.current(targets-1, "one\n")
	n.publish(all[targets-1].Key, "two\n")
	n.current(targets-1, "two\n")
	for i := first; i < targets-1; i++ {
		n.state(i, outcome.Refused) // their data is missing; a row that is too large makes no store unreachable
	}
}
