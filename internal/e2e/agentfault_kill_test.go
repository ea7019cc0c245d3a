//go:build linux

package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvexpress/internal/atomicfile"
	"kvexpress/internal/deliver"
)

// Fault 1: an agent is killed at each step of an install, and started again.

// killed is what such an agent looks after: one file with an exec of its own, or two
// that share one, which then runs apart from the installs.
type killed struct {
	*site
	files    []string
	old, new string
}

func newKilled(t *testing.T, c *cluster, step deliver.Step, files ...string) *killed {
	k := &killed{site: c.site(t, 0), files: files, old: version(1), new: version(2)}
	if step == deliver.StepReadData {
		// The data of small files comes along with the watch, and is not read.
		k.old, k.new = noise(100_000, 1), noise(100_000, 2)
	}
	exec := k.hashes("hash", files...)
	var targets []fields
	for _, f := range files {
		targets = append(targets, k.to(f, fields{"check": "grep -q . {file}", "exec": exec}))
	}
	k.config("agent", nil, targets...)
	return k
}

// die installs the old content, and has the agent killed before a step of the
// install of the new one.
func (k *killed) die(step deliver.Step) {
	k.t.Helper()
	for _, f := range k.files {
		k.publish(f, k.old)
	}
	armed := k.path("armed")
	m := k.with(agentDieAtEnv+"="+string(step), agentArmedEnv+"="+armed)
	d := m.agentOf(os.Args[0], "agent")
	k.settles(d, k.old)
	k.file("armed", "")
	for _, f := range k.files {
		k.publish(f, k.new)
	}
	eventually(k.t, "the agent is killed before "+string(step), d.ended)
}

// settles waits until all is as it should be: the files, and the exec for them.
func (k *killed) settles(d *daemon, want string) {
	k.t.Helper()
	for _, f := range k.files {
		d.delivers(f, want)
		eventually(k.t, "the exec runs for "+f, func() bool { return k.ranLast("hash", f, want) })
		eventually(k.t, "no exec is owed for "+f, func() bool { return !d.target(f).Exec.Owed })
	}
}

// torn is which of the files are neither the old nor the new bytes.
func (k *killed) torn() (bad []string) {
	for _, f := range k.files {
		if now := k.read(f); now != k.old && now != k.new {
			bad = append(bad, f+": "+brief(now))
		}
	}
	return bad
}

func (k *killed) wholeAndTidy(d *daemon) {
	k.t.Helper()
	if bad := k.torn(); len(bad) > 0 {
		k.t.Errorf("torn: %s", bad)
	}
	k.settles(d, k.new)
	eventually(k.t, "staged files are gone", func() bool { return len(k.litter()) == 0 })
}

func agentKilledAtEachStep(t *testing.T, c *cluster) {
	var parts []part
	for _, step := range deliver.Steps() {
		for name, files := range map[string][]string{"": {"one"}, " of two": {"one", "two"}} {
			parts = append(parts, part{string(step) + name, func(t *testing.T) {
				for range times(10) {
					k := newKilled(t, c, step, files...)
					k.die(step)
					d := k.agent("agent")
					k.wholeAndTidy(d)
					d.kill()
				}
			}})
		}
	}
	together(t, parts...)
}

// The agent is killed at any moment of a storm of versions, where there are no
// labels too.
func agentKilledAtAnyMoment(t *testing.T, c *cluster) {
	k := newKilled(t, c, "", "one", "two")
	contents := []string{k.old, k.new}
	for _, f := range k.files {
		k.publish(f, k.old)
	}
	first := k.agent("agent")
	k.settles(first, k.old)
	first.kill()
	for range times(100) {
		d := k.agent("agent")
		end := loop(t, func(_ context.Context, i int) {
			for _, f := range k.files {
				k.publish(f, contents[i%2])
			}
		})
		pause(rand.N(300 * time.Millisecond))
		d.kill()
		end()
		if bad := k.torn(); len(bad) > 0 {
			t.Fatalf("torn: %s", bad)
		}
	}
	for _, f := range k.files {
		k.publish(f, k.old)
		k.publish(f, k.new)
	}
	k.wholeAndTidy(k.agent("agent"))
}

// The controls: without one of its guards a kill breaks a promise, and the checks
// above see it.
func agentKilledControls(t *testing.T, c *cluster) {
	together(t,
		part{"a write that is not atomic", func(t *testing.T) {
			k := newKilled(t, c, "", "one")
			step := deliver.Step(atomicfile.StepRename)
			k.die(step)
			k.file("one", k.new[:len(k.new)/2])
			if len(k.torn()) == 0 {
				t.Error("a torn file is not seen")
			}
		}},
		part{"a staged file that is not known of", func(t *testing.T) {
			k := newKilled(t, c, "", "one")
			k.die(deliver.Step(atomicfile.StepMode))
			found, err := filepath.Glob(k.path(".kvexpress-*"))
			if err != nil || len(found) != 1 {
				t.Fatalf("staged: %q, %v", found, err)
			}
			if err := os.Rename(found[0], k.path(".kvexpress-0123456789abcdef")); err != nil {
				t.Fatal(err)
			}
			k.settles(k.agent("agent"), k.new)
			if len(k.litter()) == 0 {
				t.Error("a staged file that stays is not seen")
			}
		}},
		part{"an exec that is not known to be owed", func(t *testing.T) {
			k := newKilled(t, c, "", "one")
			k.die(deliver.StepExec)
			if err := os.RemoveAll(k.path("agent.state")); err != nil {
				t.Fatal(err)
			}
			k.agent("agent").delivers("one", k.new)
			if k.ranLast("hash", "one", k.new) {
				t.Error("an exec that never ran is not seen")
			}
		}},
	)
}
