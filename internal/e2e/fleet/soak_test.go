//go:build linux

package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/e2e"
)

// An agent, a publisher and a person who asks, whose clocks are a day off: the program
// is built with another time.Now, as neither faketime (it is a static program) nor a
// time namespace (it shifts timers alone) gives it another clock. Taken out: that a
// clock which does not fit is not used; then deliveries take a day, or nodes are silent.
//
// It compiles the standard library anew, and is for the soak.
func receiptsOfAProgramADayOff(t *testing.T, c *e2e.Cluster) {
	for _, by := range []time.Duration{day, -day} {
		binary := shiftedProgram(t, by)
		if year, err := exec.CommandContext(t.Context(), binary, "version").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, year)
		}
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			x := c.Site(t, 0)
			x.Publish("hosts", e2e.Version(1))
			var daemons []*e2e.Daemon
			for _, name := range []string{"right-0", "right-1", "wrong", "right-2", "right-3"} {
				x.ConfigWith(name, e2e.Fields{"reconcile": "10s"}, nil, e2e.Fields{"key": "hosts", "file": x.Path(name)})
				bin := e2e.Program.Path
				if name == "wrong" {
					bin = binary
				}
				daemons = append(daemons, x.AgentOf(bin, name))
			}
			comesTo(x, "hosts", "5 of 5")
			arrives := func(version string, want map[string]time.Duration) {
				t.Helper()
				for _, d := range daemons {
					name := strings.TrimSuffix(filepath.Base(d.Log), ".log")
					d.Delivers(name, version)
				}
				s := comesTo(x, "hosts", "5 of 5")
				sane(t, s, 0)
				e2e.Within(t, 30*time.Second, "other receipts follow", func() bool { return len(status(x, "hosts").Clocks) == len(want) })
				s = status(x, "hosts")
				sane(t, s, 0)
				off(t, s, want)
			}
			x.Publish("hosts", e2e.Version(2))
			arrives(e2e.Version(2), map[string]time.Duration{"wrong": by})

			// Who publishes has that clock, and there is one that has yet to report. That a
			// node and who waits are wrong in the same way, nobody could tell.
			daemons[2].Kill()
			must(x, 0, "forget", "wrong")
			putReceipt(x, "before", honest(x, "before", "hosts"))
			x.File("source", e2e.Version(3))
			r := x.Exec(binary, []string{"in", "-p", x.Prefix, "-k", "hosts", "-f", x.Path("source"), "--wait", "100%", "--timeout", "4s", "--json"})
			s := told(x, r)
			if r.Code != 9 || counts(s.Wait.Fleet) != "4 of 5, 1 behind" || time.Duration(s.Wait.Seen.Delivered.Last) > 10*time.Second {
				t.Errorf("in --wait: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
			}
			putReceipt(x, "after", honest(x, "after", "hosts"))
			now := status(x, "hosts")
			if counts(now.Report) != "5 of 6, 1 behind" {
				t.Errorf("it is %s", counts(now.Report))
			}
			sane(t, now, 0)

			// And who asks, once all have reported by clocks that are right.
			r = x.Exec(binary, []string{"status", "-p", x.Prefix, "-k", "hosts", "--json"})
			s = told(x, r)
			if by > 0 { // it cannot be told from a day in which nobody reported: no node counts
				if r.Code != 0 || s.Nodes != 0 || s.Gone != 6 {
					t.Errorf("exit %d: it is %s", r.Code, counts(s.Report))
				}
				return
			}
			if r.Code != 0 || counts(s.Report) != "5 of 6, 1 behind" {
				t.Errorf("exit %d: it is %s", r.Code, counts(s.Report))
			}
			sane(t, s, 0)
			here := false
			for _, clock := range s.Clocks {
				here = here || clock.Who == "here" && (clock.Off-by).Abs() < time.Minute
			}
			if !here {
				t.Errorf("the clock of who asks is not named: %+v", s.Clocks)
			}
		})
	}
}

// shiftedProgram is kvexpress with a wall clock that is off, and timers that are not.
func shiftedProgram(t *testing.T, by time.Duration) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(source)
	if err != nil {
		t.Fatalf("the standard library is not here: %v", err)
	}
	const begin = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if !strings.Contains(string(b), begin) {
		t.Fatal("time.Now is not as it was in Go 1.26")
	}
	text := strings.Replace(string(b), begin, begin+fmt.Sprintf("\tsec += %d\n", int64(by.Seconds())), 1)
	other := filepath.Join(dir, "time.go")
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: other}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(dir, "kvexpress")
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", list, "-trimpath", "-buildvcs=false", "-o", output, "kvexpress/cmd/kvexpress")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build kvexpress: %v\n%s", err, out)
	}
	return output
}
