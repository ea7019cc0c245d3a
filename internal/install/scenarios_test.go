package install_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kvexpress/internal/install"
	"kvexpress/internal/record"
	"kvexpress/internal/rollout"
)

// scenario is a delivery that is cut off or failed at each of its steps.
type scenario struct {
	name    string
	prepare func(n *node)
	allowed [][]byte // what the file may hold after the cut (nil among them: it does not exist)
	after   func(n *node)
	want    []byte // the live version after that
	noNote  bool   // the state may not say that the file is a candidate: after a power loss
}

func contentA() []byte { return lines("A", 40) }
func contentB() []byte { return lines("B", 25) } // shorter: an overwrite leaves a tail

// scenarios are all ways through the install transaction.
func scenarios() []scenario {
	a, b := contentA(), contentB()
	installed := func(n *node) {
		n.publish(a)
		n.settle(a)
	}
	replacing := func(n *node) {
		installed(n)
		n.publish(b)
	}
	return []scenario{
		{name: "replace", prepare: replacing, allowed: [][]byte{a, b}, want: b},
		{name: "first", prepare: func(n *node) {
			n.dir = filepath.Join(n.dir, "new", "folders")
			n.target.File = filepath.Join(n.dir, "hosts")
			n.publish(a)
		}, allowed: [][]byte{nil, a}, want: a},
		{name: "recover", prepare: func(n *node) {
			replacing(n)
			n.killedBefore(install.FaultPoint("mode"))
		}, allowed: [][]byte{a, b}, want: b},
		{name: "recover after the rename", prepare: func(n *node) {
			replacing(n)
			n.killedBefore(install.FaultPoint("sync-dir"))
		}, allowed: [][]byte{b}, want: b},
		{name: "back to the same bytes", prepare: func(n *node) {
			replacing(n)
			n.settle(b)
			n.publish(a)
		}, allowed: [][]byte{b, a}, want: a},
		{name: "the store goes back", prepare: replacing, allowed: [][]byte{a, b},
			after: func(n *node) { n.publish(a) }, want: a},
		{name: "restore", prepare: func(n *node) {
			replacing(n)
			n.target.RestoreOnFailure = true
			n.target.Exec = n.script(`[ "$KVEXPRESS_SHA256" = ` + record.Checksum(b) + ` ] && [ -e "$log.fail" ] && exit 1
				echo "$KVEXPRESS_SHA256" >>"$log"`)
			write(n.t, n.log+".fail", nil)
		}, allowed: [][]byte{a, b}, after: func(n *node) { _ = os.Remove(n.log + ".fail") }, want: b},
		{name: "in place", prepare: func(n *node) {
			replacing(n)
			n.target.InPlace = true
		}, allowed: [][]byte{a, b}, want: b},
		{name: "candidate", prepare: func(n *node) {
			replacing(n)
			n.offer = &rollout.Offer{ID: "r1", Base: rollout.Base{Version: 1, SHA256: record.Checksum(a)}}
		}, allowed: [][]byte{a, b}, want: b},
		{name: "candidate in place", prepare: func(n *node) {
			replacing(n)
			n.target.InPlace = true
			n.offer = &rollout.Offer{ID: "r1", Base: rollout.Base{Version: 1, SHA256: record.Checksum(a)}}
		}, allowed: [][]byte{a, b}, want: b},
		{name: "mend a torn overwrite", prepare: func(n *node) {
			replacing(n)
			n.target.InPlace = true
			n.killedBefore(install.FaultPoint("in-place-write"))
			write(n.t, n.target.File, tornAB())
		}, allowed: [][]byte{tornAB(), b}, want: b},
	}
}

// tornAB is what an overwrite of A by B leaves that was cut off half way.
func tornAB() []byte {
	a, b := contentA(), contentB()
	return append(b[:len(b)/2:len(b)/2], a[len(b)/2:]...)
}

// killedBefore lets a child process deliver until that step.
func (n *node) killedBefore(s install.FaultPoint) {
	n.t.Helper()
	twin := n.twin()
	i := slices.Index(twin.steps(), s)
	if i < 0 {
		n.t.Fatalf("there is no step %q", s)
	}
	j := n.job()
	j.KillAt = i + 1
	j.killed(n.t)
}

// twin is a node in the same state as this one.
func (n *node) twin() *node {
	n.t.Helper()
	base := scratch(n.t)
	was := filepath.Dir(n.stateDir)
	if err := os.CopyFS(base, os.DirFS(was)); err != nil {
		n.t.Fatal(err)
	}
	twin := *n
	move := func(path string) string { return filepath.Join(base, path[len(was):]) }
	twin.dir, twin.stateDir, twin.log, twin.target.File = move(n.dir), move(n.stateDir), move(n.log), move(n.target.File)
	twin.target.Exec = append(slices.Clone(n.target.Exec[:len(n.target.Exec)-1]), twin.log)
	return &twin
}

// start makes a node and prepares it.
func (s scenario) start(t testing.TB) *node {
	t.Helper()
	n := newNode(t, scratch(t))
	s.prepare(n)
	return n
}

// finish checks the state after the cut, and that the next delivery repairs it.
func (s scenario) finish(n *node) {
	n.t.Helper()
	if s.allowed != nil {
		for _, b := range n.torn(s.allowed...) {
			n.t.Error(b)
		}
	}
	if n.offer != nil && !s.noNote && bytes.Equal(n.content(), s.want) && n.provisional() != n.offer.ID {
		n.t.Error("the candidate is in place, and the state does not say so")
	}
	if s.after != nil {
		s.after(n)
	}
	n.settle(s.want)
	if n.offer != nil && n.provisional() != n.offer.ID {
		n.t.Error("the state does not say that the file is a candidate")
	}
}

// label names a step of a scenario for messages.
func label(i int, s install.FaultPoint) string { return fmt.Sprintf("%02d before %s", i+1, s) }
