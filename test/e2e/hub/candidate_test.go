//go:build linux

package hub

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/internal/rollout"
	"kvexpress/test/e2e"
)

// canaries is a hub with nodes that are canaries, and one that is not, on version 1 of hosts. Each exec logs the version.
func canaries(t *testing.T, policy string, target e2e.Fields, names ...string) (x *e2e.Site, h *e2e.Hub, nodes map[string]*e2e.Daemon) {
	t.Helper()
	x = start(t)
	x.Publish("hosts", "one\n")
	h = x.Hub("hub")
	nodes = map[string]*e2e.Daemon{}
	for _, name := range append(names, "other") {
		role := "canary"
		if name == "other" {
			role = "other"
		}
		fields := e2e.Fields{"key": "hosts", "file": x.Path(name + "-hosts"), "min_lines": 1,
			"exec": x.Script(name+"-exec", "echo v$KVEXPRESS_VERSION >>"+x.Path(name+"-log"))}
		for k, v := range target {
			text, is := v.(string)
			if fields[k] = v; is {
				fields[k] = strings.ReplaceAll(text, "NAME", name)
			}
		}
		x.ConfigWith(name, e2e.Fields{"hubs": []string{h.Addr}, "labels": e2e.Fields{"role": role}, "node": name}, nil, fields)
		nodes[name] = x.Agent(name)
		nodes[name].Delivers(name+"-hosts", "one\n")
	}
	x.Ok("policy", "set", "-k", "hosts", "-f", x.File("policy.yml", policy))
	return x, h, nodes
}

// rolls starts a rollout of content, and returns at once.
func rolls(x *e2e.Site, h *e2e.Hub, content string) {
	x.T.Helper()
	x.Ok("in", "-k", "hosts", "-l", "1", "-f", x.File("new", content), "--hub", h.Addr, "--detach")
}

// becomes waits for a state of the rollout, and returns the nodes that failed.
func becomes(x *e2e.Site, h *e2e.Hub, want rollout.State) []rollout.FailedNode {
	x.T.Helper()
	var v struct {
		State  rollout.State
		Failed []rollout.FailedNode
	}
	e2e.Within(x.T, time.Minute, "the rollout is "+string(want), func() bool {
		v.Failed = nil
		text := x.Run("rollout", "status", "-k", "hosts", "--hub", h.Addr, "--json").Stdout
		return json.Unmarshal([]byte(text), &v) == nil && v.State == want
	})
	return v.Failed
}

// healthy waits until a node is healthy with a candidate.
func healthy(t *testing.T, d *e2e.Daemon, file string) {
	t.Helper()
	e2e.Eventually(t, "the candidate is healthy", func() bool {
		c := d.Target(file).Candidate
		return c != nil && c.InPlace && c.State == rollout.Healthy
	})
}

const pausing = `
stages:
  - nodes: {role: canary}
  - share: 100%
    pause: before
`

// While a rollout pauses, its canary keeps the candidate: beside an `out`, over a restart, and without a hub. When it is promoted,
// the exec of the canary does not run again.
func TestCandidateStays(t *testing.T) {
	t.Parallel()
	x, h, nodes := canaries(t, pausing, nil, "canary")
	rolls(x, h, "two\n")
	healthy(t, nodes["canary"], "canary-hosts")
	out := func(name, says string) {
		t.Helper()
		r := x.Want(0, "out", "-k", "hosts", "-l", "1", "-f", x.Path(name+"-hosts"), "--state-dir", x.Path(name+".state"))
		if !strings.Contains(r.Stdout, says) {
			t.Errorf("%s", r.Stdout)
		}
	}
	out("canary", "kept; a rollout is not over")
	out("other", "unchanged; it has version 1 ")
	x.Holds("canary-hosts", "two\n")
	e2e.Eventually(t, "the status shows the candidate", func() bool {
		s := report(x, h.Addr, "hosts").Stragglers
		return len(s) == 1 && s[0].Node == "canary" && s[0].Outcome == outcome.Outdated && strings.Contains(s[0].Detail, "candidate")
	})

	nodes["canary"].Kill()
	d := x.Agent("canary")
	healthy(t, d, "canary-hosts")

	h.Kill()
	d.Kill()
	d = x.Agent("canary")
	e2e.Eventually(t, "it asks the store", func() bool { return d.Status().Hub.Direct && d.Target("canary-hosts").Outcome == outcome.Converged })
	x.Holds("canary-hosts", "two\n")
	if c := d.Target("canary-hosts").Candidate; c == nil || !c.InPlace {
		t.Errorf("%+v", c)
	}

	h = x.Hub("hub2", "--listen", h.Addr)
	healthy(t, d, "canary-hosts")
	x.Ok("rollout", "promote", "-k", "hosts", "--hub", h.Addr)
	becomes(x, h, rollout.Promoted)
	nodes["other"].Delivers("other-hosts", "two\n")
	e2e.Eventually(t, "it is no candidate", func() bool { return d.Target("canary-hosts").Candidate == nil })
	if got := x.Read("canary-log"); got != "v1\nv2\n" {
		t.Errorf("the canary ran %q", got)
	}
}

// A candidate whose probe fails after a while goes back, exec included, and no other node has it.
func TestCandidateFailsItsProbe(t *testing.T) {
	t.Parallel()
	stages := "stages: [{nodes: {role: canary}, bake: 10s}, {share: 100%, bake: 2s}]\n"
	for name, more := range map[string]e2e.Fields{"": {}, "in place": {"in_place": true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more["probe"] = "sh -c 'echo OUTPUT; ! grep -q two {file} || [ ! -e NAME-bad ]'"
			x, h, nodes := canaries(t, stages, more, "canary")
			rolls(x, h, "two\n")
			healthy(t, nodes["canary"], "canary-hosts")
			x.File("canary-bad", "")
			failed := becomes(x, h, rollout.Reverted)
			if len(failed) != 1 || failed[0].Node != "canary" || failed[0].Reason != "probe" || failed[0].Output != "OUTPUT\n" {
				t.Errorf("%+v", failed)
			}
			x.Holds("canary-hosts", "one\n")
			if got := x.Read("canary-log"); got != "v1\nv2\nv1\n" {
				t.Errorf("the canary ran %q", got)
			}
			if got := x.Read("other-log"); got != "v1\n" {
				t.Errorf("the other node ran %q", got)
			}
		})
	}
}

// When a rollout goes back, a running check ends, and a running exec has its time.
func TestCandidateGoesBackWhileCommandsRun(t *testing.T) {
	t.Parallel()
	x, h, nodes := canaries(t, "stages: [{nodes: {role: canary}}, {share: 100%}]\n", e2e.Fields{
		"check": "sh -c '! grep -q two {file} || [ NAME != checks ] || { touch checking; exec sleep 600; }'",
		"exec": "sh -c 'echo v$KVEXPRESS_VERSION >>NAME-log; [ $KVEXPRESS_VERSION = 1 ] || [ NAME = other ] || " +
			"{ [ NAME = fails ] && { until [ -e checking ] && [ -e executing ]; do sleep 0.05; done; exit 1; }; " +
			"touch executing; until [ -e go ]; do sleep 0.05; done; echo done >>NAME-log; }'",
	}, "checks", "runs", "fails")
	rolls(x, h, "two\n")
	becomes(x, h, rollout.Reverting)
	e2e.Eventually(t, "the check has ended", func() bool { c := nodes["checks"].Target("checks-hosts"); return c.Candidate == nil })
	x.Holds("checks-hosts", "one\n")
	x.Holds("runs-hosts", "two\n")
	if got := x.Read("runs-log"); got != "v1\nv2\n" {
		t.Errorf("it ran %q", got)
	}
	if _, err := os.Stat(x.Path("go")); err == nil {
		t.Fatal("the exec may end")
	}
	x.File("go", "")
	becomes(x, h, rollout.Reverted)
	nodes["runs"].Delivers("runs-hosts", "one\n")
	if got := x.Read("runs-log"); got != "v1\nv2\ndone\nv1\n" {
		t.Errorf("it ran %q", got)
	}
	x.Holds("other-hosts", "one\n")
}
