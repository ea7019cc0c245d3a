//go:build linux

package lab_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvexpress/internal/lab"
)

// A long run of changes, with a trouble at random in each: nodes never go back, nothing
// is published twice, and nothing is lost.
func TestALongRunOfTroubles(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := &long{T: t, s: fleet(t, lab.Options{Servers: 3, Nodes: 10, Services: 60}), rand: rand.New(rand.NewPCG(seed, 0))}
	changes, slow := 20, 1
	if soak() {
		changes, slow = 220, 30
	}
	quick, slowly := l.quick(), l.slowly()
	met := map[string]int{}
	for i := range changes {
		// All are met, in an order that is always another one. The slow ones are spread, so
		// that quick ones meet what they leave behind.
		if i%len(quick) == 0 {
			l.rand.Shuffle(len(quick), func(a, b int) { quick[a], quick[b] = quick[b], quick[a] })
		}
		story := quick[i%len(quick)]
		if i%(changes/slow) == changes/slow/2 {
			story = slowly[l.rand.IntN(len(slowly))]
		}
		met[story.name]++
		t.Logf("change %d: %s", i+1, story.name)
		story.run()
	}
	changeOne(t, l.s, l.s.Services[0], true) // also for watches that were held back before
	final(t, l.s)
	if err := returned(l.s.Recorder.Versions()); err != nil {
		t.Error(err)
	}
	t.Logf("%d versions; troubles met: %v", len(l.s.Recorder.Versions()), met)
}

// long is a run of troubles.
type long struct {
	*testing.T
	s    *lab.Scene
	rand *rand.Rand
}

type trouble struct {
	name string
	run  func()
}

// change makes a change, at random, of a service that is not on one of these nodes.
func (l *long) change(but ...*lab.Node) {
	l.Helper()
	for {
		i := l.rand.IntN(len(l.s.Services))
		service, free := l.s.Services[i], true
		for _, n := range but {
			free = free && service.Node != n
		}
		if free {
			// Most stay, so that the file is long enough.
			changeOne(l.T, l.s, service, i < 40 || !service.Addr().IsValid())
			return
		}
	}
}

// node is one at random.
func (l *long) node() *lab.Node { return l.s.Nodes[l.rand.IntN(len(l.s.Nodes))] }

// agent is a node with an agent. If all have watches by now, it is one that has none.
func (l *long) agent() *lab.Node {
	for range 100 {
		if n := l.node(); n.Mode == lab.Agent {
			return n
		}
	}
	return l.node()
}

// quick are those that are over in a second or two.
func (l *long) quick() []trouble {
	return []trouble{
		{"none", func() { l.change() }},
		{"a node is paused", func() {
			n := l.node()
			n.Pause()
			defer n.Continue()
			l.change(n)
		}},
		{"an agent is paused", func() {
			n := l.agent()
			n.Agent.Pause()
			defer n.Agent.Continue()
			l.change()
		}},
		{"an agent is killed", func() {
			n := l.agent()
			if n.Agent.PID() != 0 {
				if err := n.Agent.Kill(l.Context()); err != nil {
					l.Fatal(err)
				}
			}
			l.change()
		}},
		{"the key is stopped", func() {
			operate(l.T, l.s, "stop", "-k", lab.Key, "-r", "a test")
			service := l.s.Services[l.rand.IntN(40)]
			set(l.T, service, true)
			pass(l.Context(), time.Duration(l.rand.IntN(1000))*time.Millisecond)
			operate(l.T, l.s, "resume", "-k", lab.Key)
			published(l.T, l.s, service)
		}},
		{"a file is locked", func() {
			n := l.node()
			operate(l.T, l.s, "lock", "-f", n.Hosts, "--node", n.Name, "-r", "a test")
			l.change()
			operate(l.T, l.s, "unlock", "-f", n.Hosts, "--node", n.Name)
		}},
		{"a node is switched", func() {
			n := l.node()
			to := lab.Watch
			if n.Mode == lab.Watch {
				to = lab.Agent
			}
			if err := n.Switch(l.Context(), to); err != nil {
				l.Fatal(err)
			}
			l.change()
		}},
		{"the same is published again", func() {
			l.change()
			l.publishAgain()
		}},
	}
}

// publishAgain publishes what was rendered last by hand as well.
func (l *long) publishAgain() {
	server := l.s.Holder()
	if server == nil {
		return
	}
	content, err := os.ReadFile(server.Rendered)
	if errors.Is(err, fs.ErrNotExist) {
		return // it has just been started anew
	}
	path := filepath.Join(l.TempDir(), "hosts")
	if err := errors.Join(err, os.WriteFile(path, content, 0o600)); err != nil {
		l.Fatal(err)
	}
	if _, err := l.s.Kvexpress(l.Context(), lab.Publisher, "in", "-k", lab.Key, "-f", path, "-l", "30", "--sorted"); err != nil {
		l.Fatal(err)
	}
}

// slowly are those that take up to a minute.
func (l *long) slowly() []trouble {
	return []trouble{
		{"the leader is killed", func() {
			service := l.s.Services[l.rand.IntN(40)]
			comeBack(l.T, l.s, killLeader(l.T, l.s, service, l.rand.IntN(2) == 0))
			published(l.T, l.s, service)
		}},
		{"who renders is killed", func() {
			server := l.s.Holder()
			if server != nil {
				if err := server.Renderer.Kill(l.Context()); err != nil {
					l.Fatal(err)
				}
			}
			l.change()
		}},
	}
}
