package install_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/install"
	"kvexpress/internal/record"
)

// A process that is killed at any step, and another that comes after it.
func TestKilledAtEachStep(t *testing.T) {
	t.Parallel()
	kills := 0
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			rounds := times(10)
			if s.name == "replace" {
				rounds = times(100)
			}
			for i, step := range s.start(t).steps() {
				t.Run(label(i, step), func(t *testing.T) {
					for range rounds {
						n := s.start(t)
						j := n.job()
						j.KillAt = i + 1
						j.killed(t)
						kills++
						s.finish(n)
					}
				})
			}
		})
	}
	t.Logf("%d kills", kills)
}

// Every label that the transaction knows is killed and failed by some scenario.
func TestScenariosPassEveryStep(t *testing.T) {
	missing := make(map[install.FaultPoint]bool)
	for _, s := range append(install.FaultPoints(), install.AtRecover, install.AtRestore,
		atomicfile.AtMakeDirs, atomicfile.AtInPlaceWrite, atomicfile.AtInPlaceSync) {
		missing[s] = true
	}
	for _, s := range scenarios() {
		for _, step := range s.start(t).steps() {
			delete(missing, step)
		}
	}
	for s := range missing {
		t.Errorf("no scenario passes the step %q", s)
	}
}

// Steps promises the order of an install with check and exec.
func TestStepsInOrder(t *testing.T) {
	got := scenarios()[0].start(t).steps()
	want := install.FaultPoints()
	if !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

// A process that delivers all the time is killed at any moment, also where there
// are no labels.
func TestKilledAtAnyMoment(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	j := n.job()
	n.publish(contentB())
	j.Flip, j.Times = n.rows(), 1<<30
	for range times(300) {
		cmd := j.command(t)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		// It goes to the exec too, and ends with the last of them: an exec that
		// outlives the killed process must not be taken for one of the next.
		alive, inherited, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.ExtraFiles = []*os.File{inherited}
		if err := errors.Join(cmd.Start(), inherited.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		<-time.After(rand.N(50 * time.Millisecond))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if _, err := io.Copy(io.Discard, alive); err != nil {
			t.Fatal(err)
		}
		_ = alive.Close()
		for _, b := range n.torn(nil, contentA(), contentB()) {
			t.Error(b)
		}
		n.settle(contentB())
		if t.Failed() {
			return
		}
	}
}

// The exec kills the process that runs it, as a package upgrade might.
func TestKilledByItsOwnExec(t *testing.T) {
	s := scenarios()[0]
	n := s.start(t)
	ok := n.target.Exec
	n.target.Exec = n.script(`kill -9 $PPID`)
	n.job().killed(t)
	n.target.Exec = ok
	s.finish(n)
}

// Negative controls of the kill tests. Each is what a kill leaves of a transaction whose steps are in a wrong order, and the
// checks of the kill tests find it.
func TestKillControls(t *testing.T) {
	t.Parallel()
	s := scenarios()[0]
	for _, c := range []struct {
		name   string
		killed install.FaultPoint // before this step
		wrong  func(n *node)      // the effect of the wrong order
		next   install.Action     // of the delivery after it; "": there is none
	}{
		{"the target is written before the rename", atomicfile.AtRename, func(n *node) { write(t, n.target.File, tornAB()) }, ""},
		{"the exec counts as done before it ran", install.AtExec, func(n *node) {
			state := bytes.ReplaceAll(read(t, n.stateFile()), []byte(record.Checksum(contentA())), []byte(record.Checksum(contentB())))
			write(t, n.stateFile(), state)
		}, install.Unchanged},
		{"the rename comes before any note of the exec", install.AtExec, func(n *node) { _ = os.RemoveAll(n.stateDir) }, install.Unchanged},
		{"a file is staged outside the lock folder", atomicfile.AtMode, func(n *node) {
			if err := os.Rename(filepath.Join(n.dir, ".hosts.kvexpress"), filepath.Join(n.dir, ".other.kvexpress")); err != nil {
				t.Fatal(err)
			}
		}, install.Installed},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := s.start(t)
			n.killedBefore(c.killed)
			c.wrong(n)
			broken := n.torn(s.allowed...)
			if c.next != "" {
				n.must(c.next)
				broken = append(broken, n.unsettled(s.want)...)
			}
			if len(broken) == 0 {
				t.Error("the checks of the kill tests do not see it")
			}
		})
	}
}
