//go:build linux

package agent

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/cli"
	"kvexpress/internal/install"
	"kvexpress/test/e2e"
)

// An agent is killed at each step of an install, and started again.

// killed has the targets of such an agent: one file with an exec of its own, or two
// that share an exec, which then runs after the installs.
type killed struct {
	*e2e.Site
	files    []string
	old, new string
}

func newKilled(t *testing.T, c *e2e.Cluster, step install.FaultPoint, files ...string) *killed {
	k := &killed{Site: c.Site(t, 0), files: files, old: e2e.Version(1), new: e2e.Version(2)}
	if step == install.AtReadData {
		// The data of small files comes along with the watch, and is not read.
		k.old, k.new = e2e.Noise(100_000, 1), e2e.Noise(100_000, 2)
	}
	exec := hashes(k.Site, "hash", files...)
	var targets []e2e.Fields
	for _, f := range files {
		targets = append(targets, to(k.Site, f, e2e.Fields{"check": "grep -q . {file}", "exec": exec}))
	}
	agentConfig(k.Site, "agent", nil, targets...)
	return k
}

// die installs the old content, and has the agent killed before a step of the
// install of the new one.
func (k *killed) die(step install.FaultPoint) {
	k.T.Helper()
	for _, f := range k.files {
		k.Publish(f, k.old)
	}
	armed := k.Path("armed")
	m := k.With(agentDieAtEnv+"="+string(step), agentArmedEnv+"="+armed)
	d := m.AgentOf(os.Args[0], "agent")
	k.settles(d, k.old)
	k.File("armed", "")
	for _, f := range k.files {
		k.Publish(f, k.new)
	}
	e2e.Eventually(k.T, "the agent is killed before "+string(step), d.Ended)
}

// settles waits until the files have converged, with their exec.
func (k *killed) settles(d *e2e.Daemon, want string) {
	k.T.Helper()
	for _, f := range k.files {
		d.Delivers(f, want)
		e2e.Eventually(k.T, "the exec runs for "+f, func() bool { return ranLast(k.Site, "hash", f, want) })
		e2e.Eventually(k.T, "no exec is pending for "+f, func() bool { return !d.Target(f).Exec.Pending })
	}
}

// torn is which of the files are neither the old nor the new bytes.
func (k *killed) torn() (bad []string) {
	for _, f := range k.files {
		if now := k.Read(f); now != k.old && now != k.new {
			bad = append(bad, f+": "+e2e.Brief(now))
		}
	}
	return bad
}

func (k *killed) wholeAndTidy(d *e2e.Daemon) {
	k.T.Helper()
	if bad := k.torn(); len(bad) > 0 {
		k.T.Errorf("torn: %s", bad)
	}
	k.settles(d, k.new)
	e2e.Eventually(k.T, "staged files are removed", func() bool { return len(litter(k.Site)) == 0 })
}

func agentKilledAtEachStep(t *testing.T, c *e2e.Cluster) {
	parts := e2e.Parts{}
	for _, step := range install.FaultPoints() {
		for name, files := range map[string][]string{"": {"one"}, " of two": {"one", "two"}} {
			if len(files) == 1 && e2e.Times(10) < 10 {
				continue // package install kills at each step of one file
			}
			parts[string(step)+name] = func(t *testing.T) {
				for range e2e.Times(10) {
					k := newKilled(t, c, step, files...)
					k.die(step)
					d := k.Agent("agent")
					k.wholeAndTidy(d)
					d.Kill()
				}
			}
		}
	}
	e2e.Together(t, parts)
}

// The agent is killed at any moment of a storm of versions, where there are no
// labels too.
func agentKilledAtAnyMoment(t *testing.T, c *e2e.Cluster) {
	k := newKilled(t, c, "", "one", "two")
	contents := []string{k.old, k.new}
	for _, f := range k.files {
		k.Publish(f, k.old)
	}
	first := k.Agent("agent")
	k.settles(first, k.old)
	first.Kill()
	for range e2e.Times(100) {
		d := k.Agent("agent")
		end := loop(t, func(_ context.Context, i int) {
			for _, f := range k.files {
				k.Publish(f, contents[i%2])
			}
		})
		e2e.Pause(rand.N(300 * time.Millisecond))
		d.Kill()
		end()
		if bad := k.torn(); len(bad) > 0 {
			t.Fatalf("torn: %s", bad)
		}
	}
	for _, f := range k.files {
		k.Publish(f, k.old)
		k.Publish(f, k.new)
	}
	k.wholeAndTidy(k.Agent("agent"))
}

func agentDieAt(step install.FaultPoint) {
	app := cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Interruptible: cli.Signals,
		Hangups: cli.Hangups}
	app.FaultHook = func(s install.FaultPoint) error {
		if _, err := os.Stat(os.Getenv(agentArmedEnv)); s != step || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {} // the signal is on its way
	}
	app.Run(context.Background(), os.Args[1:])
}

// agentDieAtEnv makes this test program a kvexpress that gets SIGKILL before the
// named step of an install, once the file that agentArmedEnv names exists.
const (
	agentDieAtEnv = "KVEXPRESS_E2E_AGENT_DIE_AT"
	agentArmedEnv = "KVEXPRESS_E2E_AGENT_ARMED"
)
