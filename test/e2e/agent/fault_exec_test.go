//go:build linux

package agent

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/httpd"
	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// agentAndBadExecs: execs that hang, flood or die.
func agentAndBadExecs(t *testing.T, c *e2e.Cluster) {
	e2e.Together(t, e2e.Parts{
		"they hang":                    func(t *testing.T) { agentAndHangingExecs(t, c) },
		"the agent dies in it":         func(t *testing.T) { agentDiesInExec(t, c, false) },
		"the agent dies in one of two": func(t *testing.T) { agentDiesInExec(t, c, true) },
	})
}

// agentAndHangingExecs: more execs hang than an agent may run installs at a time. Files with
// other execs are still delivered, and the time limit ends the execs that hang. Without SIGKILL
// after SIGTERM, they would stay.
func agentAndHangingExecs(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	// Each ignores SIGTERM, and leaves a child in a session of its own, out of reach,
	// that holds its output. That child ends by itself.
	hang := x.Script("hang", fmt.Sprintf(`trap '' TERM
echo $$ >>%[1]s
setsid sh -c 'echo $$ >>%[2]s; exec sleep 100' &
while :; do sleep 1; done
`, x.Path("pids"), x.Path("orphans")))
	t.Cleanup(func() { killAll(x.Read("pids") + x.Read("orphans")) })
	var targets []e2e.Fields
	const hanging, hangTime = 6, 20 * time.Second
	for i := range hanging {
		key := fmt.Sprintf("hangs-%d", i)
		x.Publish(key, e2e.Version(1))
		targets = append(targets, to(x, key, e2e.Fields{"exec": []string{hang, key}, "exec_timeout": hangTime.String()}))
	}
	x.Publish("well", e2e.Version(1))
	targets = append(targets, to(x, "well", e2e.Fields{"exec": hashes(x, "hash", "well")}))
	began := time.Now()
	agentConfig(x, "agent", nil, targets...)
	d := x.Agent("agent")
	e2e.Eventually(t, "they all hang", func() bool { return strings.Count(x.Read("orphans"), "\n") >= hanging })
	for i := 2; i < 5; i++ {
		x.Publish("well", e2e.Version(i))
		d.Delivers("well", e2e.Version(i))
	}
	e2e.Eventually(t, "the exec runs", func() bool { return ranLast(x, "hash", "well", e2e.Version(4)) })
	went := time.Since(began)
	for i := range hanging {
		if now := d.Target(fmt.Sprintf("hangs-%d", i)); now.Exec.Last != nil {
			t.Errorf("only then, for one of those that hang had ended: %+v", now.Exec)
		}
	}
	for i := range hanging {
		key := fmt.Sprintf("hangs-%d", i)
		var now agent.TargetStatus
		e2e.Eventually(t, "the time limit ends "+key, func() bool { now = d.Target(key); return now.Exec.Failures > 0 })
		took := time.Duration(now.Exec.Took)
		if now.Outcome != outcome.Pending || !now.Exec.Pending || took < hangTime || took > 2*hangTime {
			t.Errorf("%s: %+v, exec %+v", key, now, now.Exec)
		}
		x.Holds(key, e2e.Version(1))
	}
	t.Logf("with %d hanging, the other exec's file had 3 more versions %v after the start", hanging, went.Round(10*time.Millisecond))
	if _, err := d.Ask(httpd.HealthPath); err != nil {
		t.Error(err)
	}
	// It ends although one of them may be running again.
	d.Stop()
	e2e.Eventually(t, "their process groups are empty", func() bool { return running(hang) == 0 })
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

// agentDiesInExec: the agent gets kill -9 during the exec. The exec is pending, and runs again
// at the next start. If its success were recorded before it and not after, it would never run.
func agentDiesInExec(t *testing.T, c *e2e.Cluster, shared bool) {
	x := c.Site(t, 2)
	files := []string{"one"}
	if shared {
		files = append(files, "two")
	}
	var paths string
	for _, f := range files {
		paths += " " + x.Path(f)
	}
	exec := x.Script("hash", fmt.Sprintf("echo $$ >>%s\ntest -e %s && exec sleep 60\nsha256sum %s >>%s\n", x.Path("begun"),
		x.Path("slow"), paths, x.Path("hash.ran")))
	var targets []e2e.Fields
	for _, f := range files {
		targets = append(targets, to(x, f, e2e.Fields{"exec": exec}))
		x.Publish(f, e2e.Version(1))
	}
	agentConfig(x, "agent", nil, targets...)
	for i := range e2e.Times(20) {
		d := x.Agent("agent")
		for _, f := range files {
			d.Delivers(f, e2e.Version(2*i+1))
		}
		x.File("slow", "")
		x.File("begun", "")
		for _, f := range files {
			x.Publish(f, e2e.Version(2*i+2))
		}
		e2e.Eventually(t, "the exec begins", func() bool { return x.Read("begun") != "" })
		d.Kill()
		killAll(x.Read("begun"))
		for _, f := range files {
			if ranLast(x, "hash", f, e2e.Version(2*i+2)) {
				t.Fatal("the exec ran to its end: this test sees nothing")
			}
		}
		remove(x, "slow")
		d = x.Agent("agent")
		for _, f := range files {
			d.Delivers(f, e2e.Version(2*i+2))
			e2e.Eventually(t, "the exec runs for the bytes in place", func() bool { return ranLast(x, "hash", f, e2e.Version(2*i+2)) })
			e2e.Eventually(t, "no exec is pending", func() bool { return !d.Target(f).Exec.Pending })
		}
		for _, f := range files {
			x.Publish(f, e2e.Version(2*i+3))
			d.Delivers(f, e2e.Version(2*i+3))
		}
		d.Kill()
	}
}
