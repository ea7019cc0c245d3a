package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/lab/order"
	"kvexpress/lab/proc"
)

// One fleet runs through one trouble after the other, and recovers from each.
func TestAFleetGetsOverTroubles(t *testing.T) {
	t.Parallel()
	f := start(t, Options{Nodes: 4})
	for _, story := range []struct {
		name string
		run  func(*testing.T, *Fleet)
	}{
		{"the catalog is lost", catalogLost},
		{"a short file by hand", shortByHand},
		{"stop and resume", stopAndResume},
		{"nodes are locked", nodesLocked},
		{"a node is paused", nodesPaused},
		{"watches and agents change places", nodesSwitched},
		// The last one: Consul ends its own streams when rights change.
		{"consul-template may not see services", rightsLost},
	} {
		if !t.Run(story.name, func(t *testing.T) {
			story.run(t, f)
			final(t, f)
		}) {
			return
		}
	}
}

const refused = "kvexpress: hosts is refused: "

// catalogLost takes most services out at once: the rendered file is too short, and no node gets it.
func catalogLost(t *testing.T, f *Fleet) {
	before := count(t, refused, f.Servers...)
	for _, s := range f.Services[5:] {
		must(t, s.Set(t.Context(), false))
	}
	// The first removals may still be published, but no further ones.
	more(t, f, refused, before)
	long(t, f.Versions())
	same(t, f, caughtUp(t, f))
	for _, s := range f.Services[5:] {
		must(t, s.Set(t.Context(), true))
	}
	must(t, f.Settled(t.Context(), f.Services...))
}

// long wants these versions to be long enough.
func long(t *testing.T, versions []Published) {
	t.Helper()
	for _, v := range versions {
		if len(v.Hosts) < minLines {
			t.Errorf("version %d has %d names", v.Number, len(v.Hosts))
		}
	}
}

// caughtUp waits for the last version that a renderer says it has published.
func caughtUp(t *testing.T, f *Fleet) Published {
	t.Helper()
	var newest uint64
	for _, s := range f.Servers {
		content, err := os.ReadFile(s.Renderer.Log)
		must(t, err)
		for line := range strings.Lines(string(content)) {
			var number uint64
			if _, err := fmt.Sscanf(line, "hosts: published version %d", &number); err == nil {
				newest = max(newest, number)
			}
		}
	}
	eventually(t, "the last version that was rendered", func() error {
		if v := f.Last(); v.Number < newest {
			return fmt.Errorf("version %d of %d has been seen", v.Number, newest)
		}
		return nil
	})
	return f.Last()
}

// shortByHand publishes an empty and a short file by hand. Both are refused; with a lower
// limit the short one is not, and then names are missing on a node with a lower limit.
func shortByHand(t *testing.T, f *Fleet) {
	const short = "127.0.0.1 localhost\n10.0.0.1 web-01.lab.test\n"
	before := f.Last()
	for _, c := range []struct{ content, limit string }{{short, "30"}, {"", "30"}, {"", "1"}} {
		if code := in(t, f, c.content, c.limit); code != 6 {
			t.Errorf("%q with -l %s: exit code %d", c.content, c.limit, code)
		}
	}
	same(t, f, before)

	if code := in(t, f, short, "1"); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	eventually(t, "the short version", func() error {
		if v := f.Last(); len(v.Hosts) != 2 {
			return fmt.Errorf("version %d has %d names", v.Number, len(v.Hosts))
		}
		return nil
	})
	bad, careless := f.Last(), f.Nodes[0]
	runOut(t, careless, "1")
	arrived(t, f, careless)
	_, err := f.Kvexpress(t.Context(), Publisher, "rollback", "-k", Key, "-l", "30")
	must(t, err)
	published(t, f, f.Services...)
	arrived(t, f, f.Nodes...)
	for _, n := range f.Nodes {
		_, lost := f.Said(n, bad.Published, func(a order.Answer) bool { return !a.Addr.IsValid() })
		if lost != (n == careless) {
			t.Errorf("%s lost names: %v", n.Name, lost)
		}
	}
}

const halted = "kvexpress: hosts is stopped"

// stopped stops the key, and changes the catalog meanwhile: no node gets that.
func stopped(t *testing.T, f *Fleet, s *Service) {
	t.Helper()
	before, said := f.Last(), count(t, halted, f.Servers...)
	operate(t, f, "stop", "-k", Key, "-r", "a test")
	must(t, s.Set(t.Context(), true))
	more(t, f, halted, said)
	same(t, f, before)
}

// What changes during a stop arrives after it without another change, since consul-template
// renders anew when kvexpress in has failed.
func stopAndResume(t *testing.T, f *Fleet) {
	stopped(t, f, f.Services[7])
	operate(t, f, "resume", "-k", Key)
	must(t, f.Settled(t.Context(), f.Services[7]))
}

// nodesLocked locks the file on one node with a watch and one with an agent: they keep
// their answers, and all others go on.
func nodesLocked(t *testing.T, f *Fleet) {
	locked, others := f.Nodes[:2], f.Nodes[2:] // a watch and an agent of each
	service := f.Services[11]
	name, before := FQDN(service.Name), f.Last()
	for _, n := range locked {
		operate(t, f, "lock", "-f", n.Hosts, "--node", n.Name, "-r", "a test")
	}
	for _, up := range []bool{true, false, true} {
		changed(t, f, service, up)
		answer(t, f, service, others...)
	}
	for _, n := range locked {
		_, has := f.Said(n, before.Published, func(a order.Answer) bool { return a.Name == name && a.Addr == service.Addr() })
		if addr, err := n.Ask(service); has || err != nil || addr != before.Hosts[name] {
			t.Errorf("%s is locked; it has the new version: %v; it says %v, %v", n.Name, has, addr, err)
		}
		operate(t, f, "unlock", "-f", n.Hosts, "--node", n.Name)
	}
	runOut(t, locked[0]) // a watch waits for the next version, or for a person
	answer(t, f, service, locked...)
}

// nodesPaused freezes a node, whole or only its agent: the others get each change
// meanwhile, and it gets there in the end.
func nodesPaused(t *testing.T, f *Fleet) {
	watch, agent := f.Nodes[2], f.Nodes[3]
	for _, c := range []struct {
		n       *Node
		off, on func()
	}{{agent, agent.Agent.Pause, agent.Agent.Continue}, {agent, agent.Pause, agent.Continue}, {watch, watch.Pause, watch.Continue}} {
		service := f.Services[0] // of another node
		var others []*Node
		for _, n := range f.Nodes {
			if n != c.n {
				others = append(others, n)
			}
		}
		for range 3 {
			c.off()
			since := time.Now()
			changed(t, f, service, true)
			answer(t, f, service, others...)
			all := time.Now()
			a, ok := f.Said(c.n, since, func(a order.Answer) bool { return a.Name == FQDN(service.Name) && a.Addr == service.Addr() })
			if ok && a.Answered.Before(all) {
				t.Errorf("%s was paused, and had the change", c.n.Name)
			}
			c.on()
		}
		answer(t, f, service, c.n)
		end := proc.Pulse(t.Context(), c.off, c.on, 400*time.Millisecond, 200*time.Millisecond)
		for _, s := range f.Services[20:26] {
			if s.Node != c.n {
				changed(t, f, s, true)
			}
		}
		end()
		answer(t, f, service, c.n)
	}
}

// nodesSwitched gives each node an agent in place of its watch, and the other way round,
// there and back, while the catalog goes on changing.
func nodesSwitched(t *testing.T, f *Fleet) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	stop := func() { cancel(); wg.Wait() }
	defer stop()
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			// It is not cut off: its result would be unknown.
			if err := f.Services[i%len(f.Services)].Set(context.WithoutCancel(ctx), true); err != nil {
				t.Error(err)
			}
			proc.Sleep(ctx, 100*time.Millisecond)
		}
	})
	for range 2 {
		for _, n := range f.Nodes {
			turn(t, n, map[Mode]Mode{Watch: Agent, Agent: Watch}[n.Mode])
			watches, err := os.ReadFile(n.watchFile())
			must(t, err)
			watch, agent := bytes.Contains(watches, []byte(`"watches"`)), n.Agent.PID() != 0
			if watch == agent || agent != (n.Mode == Agent) {
				t.Errorf("%s, mode %s: watch %v, agent %v", n.Name, n.Mode, watch, agent)
			}
		}
	}
	stop()
	published(t, f, f.Services...)
}

// rightsLost takes from consul-template the right to see services: it renders a file
// without any, and no node gets that.
func rightsLost(t *testing.T, f *Fleet) {
	said, before := count(t, refused, f.Servers...), len(f.Versions())
	rules := f.rules[Renderer]
	blind := strings.Replace(rules, rule("service_prefix", "", "read"), rule("service_prefix", "", "deny"), 1)
	if blind == rules {
		t.Fatalf("these rules have no services in them: %s", rules)
	}
	allow(t, f, blind)
	// A query that waits has the rights with which it began: so it takes some changes, and
	// services go one by one. As long as enough are left, that is published.
	i := 0
	eventually(t, "kvexpress in to refuse", func() error {
		if count(t, refused, f.Servers...) > said {
			return nil
		}
		must(t, f.Services[i%len(f.Services)].Set(t.Context(), true))
		i++
		return errors.New("it did not")
	})
	t.Logf("consul-template saw nothing after %d changes", i)
	same(t, f, caughtUp(t, f))
	long(t, f.Versions()[before:])
	allow(t, f, rules)
	published(t, f, f.Services...)
}

// allow gives the renderers other rules.
func allow(t *testing.T, f *Fleet, rules string) {
	t.Helper()
	var policy struct{ ID, Name, Rules string }
	must(t, f.manage(t.Context(), http.MethodGet, "/v1/acl/policy/name/lab-"+Renderer, nil, &policy))
	policy.Rules = rules
	must(t, f.manage(t.Context(), http.MethodPut, "/v1/acl/policy/"+policy.ID, policy, nil))
}
