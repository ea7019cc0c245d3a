//go:build linux

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/gate"
)

// agentAndBadExecs are faults 37 to 40.
func agentAndBadExecs(t *testing.T, c *cluster) {
	together(t,
		part{"they hang", func(t *testing.T) { agentAndHangingExecs(t, c) }},
		part{"1 GB of output", func(t *testing.T) { agentAndEndlessOutput(t, c) }},
		part{"the agent dies in it", func(t *testing.T) { agentDiesInExec(t, c, false) }},
		part{"the agent dies in one of two", func(t *testing.T) { agentDiesInExec(t, c, true) }},
		part{"bad checks", func(t *testing.T) { agentAndBadChecks(t, c) }},
	)
}

// agentAndHangingExecs is fault 37, with more of them than an agent makes passes at a
// time: files with other execs go on being delivered, and the time limit ends those
// that hang. Taken out: that a pass waits for a slot for half a second at most (the
// other file has to wait for those that hang); SIGKILL after SIGTERM (they stay).
func agentAndHangingExecs(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	// Each ignores SIGTERM, and leaves a child in a session of its own, out of reach,
	// that holds its output. That child ends by itself.
	hang := x.script("hang", fmt.Sprintf(`trap '' TERM
echo $$ >>%[1]s
setsid sh -c 'echo $$ >>%[2]s; exec sleep 100' &
while :; do sleep 1; done
`, x.path("pids"), x.path("orphans")))
	t.Cleanup(func() { killAll(x.read("pids") + x.read("orphans")) })
	var targets []fields
	const hanging, hangTime = 6, 15 * time.Second
	for i := range hanging {
		key := fmt.Sprintf("hangs-%d", i)
		x.publish(key, version(1))
		targets = append(targets, x.to(key, fields{"exec": []string{hang, key}, "exec_timeout": hangTime.String()}))
	}
	x.publish("well", version(1))
	targets = append(targets, x.to("well", fields{"exec": x.hashes("hash", "well")}))
	began := time.Now()
	x.config("agent", nil, targets...)
	d := x.agent("agent")
	eventually(t, "they all hang", func() bool { return strings.Count(x.read("orphans"), "\n") >= hanging })
	for i := 2; i < 5; i++ {
		x.publish("well", version(i))
		d.delivers("well", version(i))
	}
	eventually(t, "the exec runs", func() bool { return x.ranLast("hash", "well", version(4)) })
	went := time.Since(began)
	for i := range hanging {
		if now := d.target(fmt.Sprintf("hangs-%d", i)); now.Exec.Last != nil {
			t.Errorf("only then, for one of those that hang had ended: %+v", now.Exec)
		}
	}
	for i := range hanging {
		key := fmt.Sprintf("hangs-%d", i)
		var now agent.TargetStatus
		eventually(t, "the time limit ends "+key, func() bool { now = d.target(key); return now.Exec.Failures > 0 })
		if now.State != agent.Owed || !now.Exec.Owed || now.Exec.Took < hangTime || now.Exec.Took > 2*hangTime {
			t.Errorf("%s: %+v, exec %+v", key, now, now.Exec)
		}
		x.holds(key, version(1))
	}
	t.Logf("with %d hanging, the other exec's file had 3 more versions %v after the start", hanging, went.Round(10*time.Millisecond))
	if _, err := d.ask(agent.HealthPath); err != nil {
		t.Error(err)
	}
	// It ends although one of them may be running again.
	d.stop()
	eventually(t, "nobody of their groups is left", func() bool { return running(hang) == 0 })
}

// running is how many processes have this word in their command line.
func running(word string) int {
	n := 0
	for _, line := range processes() {
		if strings.Contains(line, word) {
			n++
		}
	}
	return n
}

func killAll(pids string) {
	for _, pid := range strings.Fields(pids) {
		if n, err := strconv.Atoi(pid); err == nil && n > 1 {
			_ = syscall.Kill(n, syscall.SIGKILL) // it may have ended
		}
	}
}

// agentAndEndlessOutput is fault 38. Taken out: the cap on what is kept of it; then the
// agent dies.
func agentAndEndlessOutput(t *testing.T, c *cluster) {
	const bytes = 1_000_000_000
	x := c.site(t, 1)
	x.publish("hosts", version(1))
	loud := x.script("loud", fmt.Sprintf("yes 'a line that nobody reads' | head -c %d\nsha256sum %s >>%s\n", bytes, x.path("hosts"), x.path("loud.ran")))
	x.config("agent", nil, x.to("hosts", fields{"exec": loud}))
	d := x.agent("agent")
	within(t, 2*time.Minute, "the exec ends", func() bool { return x.ranLast("loud", "hosts", version(1)) })
	d.delivers("hosts", version(1))
	d.frugal(maxMemory)
}

// agentDiesInExec is fault 39: the exec has begun when the agent gets kill -9. It is
// owed, and runs again with the next start. Taken out: that its success is noted after
// it and not before; then it never runs.
func agentDiesInExec(t *testing.T, c *cluster, shared bool) {
	x := c.site(t, 2)
	files := []string{"one"}
	if shared {
		files = append(files, "two")
	}
	var paths string
	for _, f := range files {
		paths += " " + x.path(f)
	}
	exec := x.script("hash", fmt.Sprintf("echo $$ >>%s\ntest -e %s && exec sleep 60\nsha256sum %s >>%s\n", x.path("begun"), x.path("slow"), paths, x.path("hash.ran")))
	var targets []fields
	for _, f := range files {
		targets = append(targets, x.to(f, fields{"exec": exec}))
		x.publish(f, version(1))
	}
	x.config("agent", nil, targets...)
	for i := range times(20) {
		d := x.agent("agent")
		for _, f := range files {
			d.delivers(f, version(2*i+1))
		}
		x.file("slow", "")
		x.file("begun", "")
		for _, f := range files {
			x.publish(f, version(2*i+2))
		}
		eventually(t, "the exec begins", func() bool { return x.read("begun") != "" })
		d.kill()
		killAll(x.read("begun"))
		for _, f := range files {
			if x.ranLast("hash", f, version(2*i+2)) {
				t.Fatal("the exec ran to its end: this test sees nothing")
			}
		}
		x.remove("slow")
		d = x.agent("agent")
		for _, f := range files {
			d.delivers(f, version(2*i+2))
			eventually(t, "the exec runs for what is in place", func() bool { return x.ranLast("hash", f, version(2*i+2)) })
			eventually(t, "nothing is owed", func() bool { return !d.target(f).Exec.Owed })
		}
		for _, f := range files {
			x.publish(f, version(2*i+3))
			d.delivers(f, version(2*i+3))
		}
		d.kill()
	}
}

// agentAndBadChecks is fault 40: what the check does not accept, however it says so,
// is not installed; what it accepts later is. Taken out: the check.
func agentAndBadChecks(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	checks := map[string]string{
		"fails":                "exit 1",
		"crashes":              "kill -SEGV $$",
		"is killed":            "kill -KILL $$",
		"hangs":                "trap '' TERM; while :; do sleep 1; done",
		"writes to the file":   `echo more >>"$1"`,
		"removes the file":     `rm "$1"`,
		"floods":               "yes | head -c 100000000; exit 1",
		"cannot be run at all": "",
	}
	var targets []fields
	var names []string
	for name, bad := range checks {
		key := strings.ReplaceAll(name, " ", "-")
		names = append(names, key)
		script := x.script("check-"+key, fmt.Sprintf("grep -q version-2 \"$1\" || exit 0\n%s\n", bad))
		if bad == "" { // an interpreter that is not there
			x.file("check-"+key, "#!/no/such/interpreter\n")
		}
		x.publish(key, version(2))
		targets = append(targets, x.to(key, fields{"check": []string{script, "{file}"}, "check_timeout": "2s", "exec": x.hashes("hash-"+key, key)}))
		x.file(key, version(1))
	}
	x.config("agent", nil, targets...)
	d := x.agent("agent")
	for _, key := range names {
		if key == "removes-the-file" { // there is nothing left to refuse
			d.becomes(key, agent.Failed)
			x.holds(key, version(1))
			continue
		}
		s := d.becomes(key, agent.Refused)
		if s.Reason != string(gate.CheckFailed) || s.Counts.Refusals[string(gate.CheckFailed)] == 0 {
			t.Errorf("%s: %+v", key, s)
		}
		x.holds(key, version(1))
		if ran := x.ran("hash-"+key, key); len(ran) > 0 {
			t.Errorf("%s: the exec ran for a version that was refused: %q", key, ran)
		}
	}
	for _, key := range names {
		if key == "cannot-be-run-at-all" {
			x.script("check-"+key, "exit 0\n")
		}
		x.publish(key, version(3))
		d.delivers(key, version(3))
		eventually(t, "the exec runs", func() bool { return x.ranLast("hash-"+key, key, version(3)) })
	}
	if litter := x.litter(); len(litter) > 0 {
		t.Errorf("left behind: %q", litter)
	}
	d.frugal(maxMemory)
}
