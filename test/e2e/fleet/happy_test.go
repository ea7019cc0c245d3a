//go:build linux

package fleet

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/fleet"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// receiptsOfAFleet is the day of a small fleet: `status` and the waits are right about each node and
// each reason. If a node with a pending exec counted as converged, the wait for
// web-2 would end with exit 0.
func receiptsOfAFleet(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	const nodes = 5
	fails := x.Script("reload.sh", "test ! -e "+x.Path("broken")+"\n")
	file := func(i int) string { return fmt.Sprintf("hosts-%d", i) }
	x.Publish("hosts", e2e.Version(1))
	var daemons []*e2e.Daemon
	for i := range nodes {
		target := e2e.Fields{"key": "hosts", "file": x.Path(file(i))}
		switch i {
		case 2:
			target["exec"] = fails
		case 4:
			target["min_lines"] = 15
		}
		name := fmt.Sprintf("web-%d", i)
		x.ConfigWith(name, e2e.Fields{"reconcile": "10s"}, nil, target)
		daemons = append(daemons, x.Agent(name))
	}
	all := func(content string) {
		t.Helper()
		for i := range nodes {
			x.Holds(file(i), content)
		}
	}
	comesTo(x, "hosts", "5 of 5")
	all(e2e.Version(1))

	s, r := inWait(x, 0, "hosts", e2e.Version(2), "--wait", "100%")
	if s.Wait == nil || counts(s.Wait.Fleet) != "5 of 5" || s.Wait.Fleet.Version != 2 || s.Wait.Fleet.Delivered.Count != nodes ||
		r.Stderr != "" {
		t.Errorf("in --wait: %s%s", r.Stdout, r.Stderr)
	}
	all(e2e.Version(2)) // it has really arrived
	if s := status(x, "hosts"); s.Delivered.Count != nodes || s.OnNode.Count != nodes || s.Exec.Count != 1 ||
		s.Exec.SlowestNode != "web-2" || len(s.Clocks) > 0 {
		t.Errorf("%+v", s)
	}

	// An exec fails.
	x.File("broken", "")
	s, r = inWait(x, 9, "hosts", e2e.Version(3), "--wait", "100%", "--timeout", "4s")
	if counts(s.Wait.Fleet) != "4 of 5, 1 pending" || !tells(s.Error, "4 of 5") {
		t.Errorf("in --wait says %s%s", r.Stdout, r.Stderr)
	}
	all(e2e.Version(3))
	got := must(x, 9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "1s")
	if !hasRow(got.Stdout, "web-2", "3", "exec") || !tells(got.Stdout, "4 of 5", "exit status 1") || hasRow(got.Stdout, "web-1") {
		t.Errorf("status says:\n%s", got.Stdout)
	}
	if !tells(got.Stderr, "4 of 5") {
		t.Errorf("status complains: %s", got.Stderr)
	}
	must(x, 0, "status", "-k", "hosts", "--wait", "80%", "--timeout", "30s")
	if err := os.Remove(x.Path("broken")); err != nil {
		t.Fatal(err)
	}
	if got := must(x, 0, "status", "-k", "hosts", "--wait", "100%", "--timeout", "30s"); !tells(got.Stdout, "5 of 5") {
		t.Errorf("it is mended, and status says:\n%s", got.Stdout)
	}

	heldBack(x, daemons)

	// One leaves for good.
	daemons[4].Kill()
	comesTo(x, "hosts", "5 of 5")
	must(x, 0, "forget", "web-4")
	if s := status(x, "hosts"); counts(s.Report) != "4 of 4" {
		t.Errorf("after forget: %s", counts(s.Report))
	}
	if got := must(x, 0, "forget", "web-4"); !tells(got.Stdout, "web-4", "no receipt") {
		t.Errorf("forget says %s", got.Stdout)
	}
	// And one comes back with its next receipt.
	must(x, 0, "forget", "web-0")
	x.Publish("hosts", e2e.Version(7))
	comesTo(x, "hosts", "4 of 4")
}

// heldBack stops the key, locks a file, and makes a node refuse a version: status
// shows each reason, and all nodes converge in the end.
func heldBack(x *e2e.Site, daemons []*e2e.Daemon) {
	t := x.T
	t.Helper()
	must(x, 0, "stop", "-k", "hosts", "-r", "an outage")
	for i, d := range daemons {
		d.Becomes(fmt.Sprintf("hosts-%d", i), outcome.Stopped)
	}
	must(x, 0, "lock", "-f", x.Path("hosts-3"), "-r", "its disk")
	must(x, 0, "rollback", "-k", "hosts", "--ignore-stop", "-m", "back") // to version 2
	s := comesTo(x, "hosts", "0 of 5, 4 stopped, 1 locked")
	if s.Version != 4 || len(s.Stops) != 1 || s.Stops[0].Reason != "an outage" || len(s.Locks) != 1 ||
		s.Locks[0].File != x.Path("hosts-3") {
		t.Errorf("%+v", s)
	}
	var got e2e.Result
	e2e.Eventually(t, "status shows all that is held back", func() bool {
		got = must(x, 0, "status", "-k", "hosts")
		return tells(got.Stdout, "stopped", "an outage", "hosts-3", "locked", "its disk") && hasRow(got.Stdout, "web-1", "3", "stopped")
	})
	for i := range daemons {
		x.Holds(fmt.Sprintf("hosts-%d", i), e2e.Version(3))
	}
	must(x, 0, "resume", "-k", "hosts")
	comesTo(x, "hosts", "4 of 5, 1 locked")
	e2e.Eventually(t, "web-3 is reported as locked", func() bool {
		got = must(x, 0, "status", "-k", "hosts")
		return hasRow(got.Stdout, "web-3", "3", "locked") && tells(got.Stdout, "its disk") && !strings.Contains(got.Stdout, "an outage")
	})

	// 12 lines are enough for all but web-4.
	x.Publish("hosts", e2e.Text("short", 12))
	comesTo(x, "hosts", "3 of 5, 1 locked, 1 refused")
	e2e.Eventually(t, "web-4 is reported as refusing it", func() bool {
		l := status(x, "hosts").line("web-4")
		return l != nil && l.Outcome == outcome.Refused && l.Version == 4 && tells(l.Detail, "12 lines", "15")
	})
	must(x, 0, "unlock", "-f", x.Path("hosts-3"))
	must(x, 9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "2s")
	s = told(x, must(x, 0, "rollback", "-k", "hosts", "--wait", "100%", "--json"))
	if s.Wait == nil || counts(s.Wait.Fleet) != "5 of 5" || s.Wait.Fleet.Version != 6 ||
		s.Wait.Took > fleet.Millis(30*time.Second) {
		t.Errorf("rollback --wait: %+v", s)
	}
	for i := range daemons {
		x.Holds(fmt.Sprintf("hosts-%d", i), e2e.Version(2))
	}
}

// hasRow reports whether a table has a row that begins with these cells.
func hasRow(text string, cells ...string) bool {
	for line := range strings.Lines(text) {
		row := strings.Fields(line)
		if len(row) >= len(cells) && fmt.Sprint(row[:len(cells)]) == fmt.Sprint(cells) {
			return true
		}
	}
	return false
}
