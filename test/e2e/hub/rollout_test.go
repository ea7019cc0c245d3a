//go:build linux

package hub

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/rollout"
	"kvexpress/test/e2e"
)

// staged is a fleet of six nodes on two hubs that ask each other.
type staged struct {
	*e2e.Site
	hubs  []*e2e.Hub
	nodes []string
}

const good = "one good line\n"

// newStaged begins with a good version on all nodes. The exec of a node notes each version, and fails for one with the word "bad".
// With roam, a node uses both hubs.
func newStaged(t *testing.T, policy string, roam bool) *staged {
	t.Helper()
	x := &staged{Site: start(t)}
	addrs := []string{free(t), free(t)}
	for i, addr := range addrs {
		x.hubs = append(x.hubs, x.Hub(fmt.Sprintf("hub-%d", i), "--listen", addr, "--peers", addrs[1-i]))
	}
	x.Ok("in", "-k", "hosts", "-l", "1", "-f", x.File("good", good))
	for i := range 6 {
		name := fmt.Sprintf("node-%d", i)
		hubs := []string{addrs[i%2]}
		if roam {
			hubs = addrs
		}
		more := e2e.Fields{"hubs": hubs, "labels": e2e.Fields{"role": map[bool]string{true: "canary", false: "web"}[i == 0]}}
		script := x.Script(name+"-exec", "cat "+x.Path(name+"-hosts")+" >>"+x.Path(name+"-log")+"; ! grep bad "+x.Path(name+"-hosts"))
		x.ConfigWith(name, more, nil, e2e.Fields{"key": "hosts", "file": x.Path(name + "-hosts"), "min_lines": 1, "exec": []string{script}})
		x.Agent(name)
		x.nodes = append(x.nodes, name)
	}
	x.all(good)
	x.Ok("policy", "set", "-k", "hosts", "-f", x.File("policy.yml", policy))
	e2e.Within(t, time.Minute, "the hubs know all nodes", func() bool {
		return x.hubs[0].Metric("agents")+x.hubs[1].Metric("agents") == 6
	})
	return x
}

// free is an address with a port that was free a moment ago.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// all waits until all nodes have a version.
func (x *staged) all(content string) {
	x.T.Helper()
	e2e.Within(x.T, time.Minute, fmt.Sprintf("all nodes have %.20q", content), func() bool { return len(x.with(content)) == len(x.nodes) })
}

// with are the nodes that have a version.
func (x *staged) with(content string) (names []string) {
	for _, name := range x.nodes {
		if b, err := os.ReadFile(x.Path(name + "-hosts")); err == nil && string(b) == content {
			names = append(names, name)
		}
	}
	return names
}

// had are the nodes whose exec ever saw a version with a word.
func (x *staged) had(word string) (names []string) {
	for _, name := range x.nodes {
		if b, err := os.ReadFile(x.Path(name + "-log")); err == nil && strings.Contains(string(b), word) {
			names = append(names, name)
		}
	}
	return names
}

// in publishes, with both hubs.
func (x *staged) in(content string) chan e2e.Result {
	file := x.File("next", content)
	done := make(chan e2e.Result, 1)
	go func() {
		done <- x.Run("in", "-k", "hosts", "-l", "1", "-f", file, "--hub", x.hubs[0].Addr+","+x.hubs[1].Addr)
	}()
	return done
}

// ends waits for the end of in.
func (x *staged) ends(done chan e2e.Result, code int, words ...string) {
	x.T.Helper()
	select {
	case r := <-done:
		for _, word := range words {
			if !strings.Contains(r.Stdout+r.Stderr, word) {
				x.T.Errorf("in does not say %q", word)
			}
		}
		if r.Code != code {
			x.T.Fatalf("in ended with %d, want %d: %s%s", r.Code, code, r.Stdout, r.Stderr)
		}
	case <-time.After(2 * time.Minute):
		x.T.Fatalf("in does not end; the row is %s", x.Store.Value("kvexpress-rollouts/hosts"))
	}
}

func (x *staged) row() (r rollout.Row) {
	_ = json.Unmarshal([]byte(x.Store.Value("kvexpress-rollouts/hosts")), &r)
	return r
}

// controller is the number of the hub that controls the open rollout.
func (x *staged) controller() (at int) {
	x.T.Helper()
	e2e.Within(x.T, time.Minute, "a hub controls the rollout", func() bool {
		at = slices.IndexFunc(x.hubs, func(h *e2e.Hub) bool {
			return strings.Contains(h.Get("/metrics"), `kvexpress_rollout_stage{key="hosts"}`)
		})
		return at >= 0
	})
	return at
}

// Through two hubs: a good version reaches all nodes, a bad one only the canary, which goes back.
func TestRollout(t *testing.T) {
	t.Parallel()
	x := newStaged(t, "stages:\n- nodes: {role: canary}\n- share: 50%\n- share: 100%\n  bake: 200ms\n", false)
	x.ends(x.in("two good lines\n"), 0)
	x.all("two good lines\n")
	if row := x.row(); row.State != rollout.Promoted || row.Counted != 6 {
		t.Errorf("the row is %+v", row)
	}
	x.ends(x.in("a bad line\n"), 11, "node-0")
	x.all("two good lines\n")
	if had := x.had("bad"); !slices.Equal(had, []string{"node-0"}) {
		t.Errorf("%q had the bad version, want the canary alone", had)
	}
	x.Fails(11, nil, "in", "-k", "hosts", "-l", "1", "-f", x.File("again", "a bad line\n"), "--hub", x.hubs[0].Addr)
	x.ends(x.in("three good lines\n"), 0)
	x.all("three good lines\n")
}

// The controller is killed in the middle of a stage: the other hub goes on, and its nodes come over.
func TestControllerKilled(t *testing.T) {
	t.Parallel()
	x := newStaged(t, "stages:\n- nodes: {role: canary}\n  bake: 3s\n- share: 100%\n  bake: 3s\ntimeout: 100s\n", true)
	done := x.in("two good lines\n")
	x.hubs[x.controller()].Kill()
	x.ends(done, 0)
	x.all("two good lines\n")
}

// The controller ends in the middle of a stage: it gives its rollout away, and the other hub goes on.
func TestControllerEnds(t *testing.T) {
	t.Parallel()
	x := newStaged(t, "stages:\n- nodes: {role: canary}\n  bake: 5s\n- share: 100%\n  bake: 3s\ntimeout: 100s\n", true)
	done := x.in("two good lines\n")
	first := x.controller()
	was := x.row().Controller
	x.hubs[first].End(syscall.SIGTERM)
	if now := x.row(); now.Controller == was {
		t.Errorf("the hub %s has ended, and the row still names it: %+v", was, now)
	}
	x.ends(done, 0)
	x.all("two good lines\n")
}

// A hub with admitted nodes is stopped, as by a machine that hangs: its nodes are silent, the rollout fails, and all go back.
func TestSilentHub(t *testing.T) {
	t.Parallel()
	x := newStaged(t, "stages:\n- share: 100%\n  bake: 20s\ntimeout: 100s\n", false)
	done := x.in("two good lines\n")
	x.all("two good lines\n")
	other := x.hubs[1-x.controller()]
	if err := other.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	x.ends(done, 11, "silence")
	if err := other.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	x.all(good)
}
