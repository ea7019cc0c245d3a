//go:build linux

package agent

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"kvexpress/test/e2e"
)

// agentAndBadExecs: execs that hang, flood or die.
func agentAndBadExecs(t *testing.T, c *e2e.Cluster) {
	e2e.Together(t, e2e.Parts{
		"the agent dies in it":         func(t *testing.T) { agentDiesInExec(t, c, false) },
		"the agent dies in one of two": func(t *testing.T) { agentDiesInExec(t, c, true) },
	})
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
