package install_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"kvexpress/internal/install"
)

// failing makes the exec fail until the function that it returns is called.
func (n *node) failing() (repair func()) {
	ok := n.target.Exec
	n.target.Exec = n.script(`echo "no such service"; exit 3`)
	return func() { n.target.Exec = ok }
}

// failed delivers, and wants a failed exec.
func (n *node) failed(want install.Action) (install.Result, *install.ExecError) {
	n.t.Helper()
	res, err := n.deliver(nil)
	var failed *install.ExecError
	if !errors.As(err, &failed) || res.Action != want {
		n.t.Fatalf("%q, %v; want %q and an ExecError", res.Action, err, want)
	}
	return res, failed
}

// A failed exec stays pending, and runs again at the next install, for which nothing is
// fetched. Its success clears it.
func TestFailedExecIsPending(t *testing.T) {
	n := newNode(t, scratch(t))
	repair := n.failing()
	n.publish(contentA())
	res, _ := n.failed(install.Installed)
	if res.Exec == nil || res.Exec.ExitCode != 3 {
		t.Errorf("exec %+v", res.Exec)
	}
	c := n.count()
	n.failed(install.ExecRan)
	repair()
	n.must(install.ExecRan)
	if reads, of := c.asked(n.layout.Data(hosts)); reads != 2 || of != 0 {
		t.Errorf("%d reads, %d of them of the data; want 2 and 0", reads, of)
	}
	n.settle(contentA())
	if got := len(n.execs()); got != 1 {
		t.Errorf("%d execs went well, want 1", got)
	}
}

// The exec ran for these bytes, but not since other bytes were in place.
func TestFailedExecForOldBytesIsPending(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	repair := n.failing()
	for _, c := range [][]byte{contentB(), contentA()} {
		n.publish(c)
		n.failed(install.Installed)
	}
	n.failed(install.ExecRan)
	repair()
	n.must(install.ExecRan)
	n.settle(contentA())
}

// A first install that failed leaves no exec pending for the old file.
func TestAbandonedInstall(t *testing.T) {
	for at := range 8 {
		n := newNode(t, scratch(t))
		write(t, n.target.File, contentA())
		n.publish(contentB())
		if _, err := n.deliver(failAt(at + 1)); err == nil {
			t.Fatal("it was installed")
		}
		n.publish(contentA())
		n.must(install.Unchanged)
		if len(n.execs()) != 0 {
			t.Errorf("failed at step %d, and the exec ran", at+1)
		}
	}
}

// An exec that is added to a target later is pending for the file in place.
func TestExecAddedLater(t *testing.T) {
	n := newNode(t, scratch(t))
	exec := n.target.Exec
	n.target.Exec = nil
	n.publish(contentA())
	n.must(install.Installed)
	n.must(install.Unchanged)
	n.target.Exec = exec
	n.must(install.ExecRan)
	n.settle(contentA())
}

// A user installs the next version by hand while an exec is pending: its exec is pending, too.
func TestPendingForOtherBytes(t *testing.T) {
	n := newNode(t, scratch(t))
	repair := n.failing()
	n.publish(contentA())
	n.failed(install.Installed)
	n.publish(contentB())
	write(t, n.target.File, contentB())
	repair()
	n.must(install.ExecRan)
	n.settle(contentB())
}

// An interrupted exec stays pending, and nothing is restored.
func TestInterruptedExecIsPending(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.settle(contentA())
	n.publish(contentB())
	n.target.RestoreOnFailure = true
	ok := n.target.Exec
	n.target.Exec = n.script(`touch "$log.runs"; exec sleep 600`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := os.Stat(n.log + ".runs"); err == nil {
				cancel()
			}
		}
	}()
	res, err := n.deliverer(nil).Install(ctx, n.target)
	cancel()
	<-done
	if !errors.Is(err, context.Canceled) || res.Action != install.Installed {
		t.Errorf("%q, %v", res.Action, err)
	}
	n.target.Exec = ok
	n.settle(contentB())
}

// A dry run says which exec is pending, and changes nothing.
func TestDryRun(t *testing.T) {
	n := newNode(t, scratch(t))
	n.publish(contentA())
	n.target.DryRun = true
	n.must(install.WouldInstall)
	if len(list(t, n.stateDir)) > 0 {
		t.Error("a dry run made a state")
	}
	n.target.DryRun = false
	repair := n.failing()
	n.failed(install.Installed)
	repair()
	n.target.DryRun = true
	before := read(t, n.stateFile())
	n.must(install.WouldExec)
	mode := os.FileMode(0o600)
	n.target.Mode = &mode
	n.must(install.WouldRepair)
	n.publish(contentB())
	n.must(install.WouldInstall)
	if len(n.execs()) != 0 || string(read(t, n.stateFile())) != string(before) || len(n.torn(contentA())) != 0 {
		t.Error("a dry run changed something")
	}
}
