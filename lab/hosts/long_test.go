package hosts

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"kvexpress/lab/proc"
)

// A long run of changes, with a trouble at random in each: nodes never go back, nothing is
// published twice, and nothing is lost.
func TestALongRunOfTroubles(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := &longRun{T: t, f: start(t, Options{Nodes: 10}), rand: rand.New(rand.NewPCG(seed, 0))}
	changes, slow := 20, 1
	if soak() {
		changes, slow = 220, 30
	}
	quick, slowly := l.quick(), l.slowly()
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
		t.Logf("change %d: %s", i+1, story.name)
		story.run()
	}
	changed(t, l.f, l.f.Services[0], true) // also for watches that were held back before
	final(t, l.f)
	if err := returned(l.f.Versions()); err != nil {
		t.Error(err)
	}
}

// longRun is a run of troubles.
type longRun struct {
	*testing.T
	f    *Fleet
	rand *rand.Rand
}

type trouble struct {
	name string
	run  func()
}

// change changes a service at random that is not on a node.
func (l *longRun) change(but *Node) {
	l.Helper()
	i := l.rand.IntN(len(l.f.Services))
	for l.f.Services[i].Node == but {
		i = l.rand.IntN(len(l.f.Services))
	}
	s := l.f.Services[i]
	changed(l.T, l.f, s, i < 40 || !s.Addr().IsValid()) // most stay, so that the file is long enough
}

func (l *longRun) node() *Node { return l.f.Nodes[l.rand.IntN(len(l.f.Nodes))] }

// agent is a node with an agent. If all have watches by now, it is one that has none.
func (l *longRun) agent() *Node {
	n := l.node()
	for range 100 {
		if n.Mode == Agent {
			break
		}
		n = l.node()
	}
	return n
}

// quick are troubles of one or two seconds.
func (l *longRun) quick() []trouble {
	return []trouble{
		{"none", func() { l.change(nil) }},
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
			l.change(nil)
		}},
		{"an agent is killed", func() {
			kill(l.T, l.agent().Agent)
			l.change(nil)
		}},
		{"the key is stopped", func() {
			operate(l.T, l.f, "stop", "-k", Key, "-r", "a test")
			s := l.f.Services[l.rand.IntN(40)]
			must(l.T, s.Set(l.Context(), true))
			proc.Sleep(l.Context(), time.Duration(l.rand.IntN(1000))*time.Millisecond)
			operate(l.T, l.f, "resume", "-k", Key)
			published(l.T, l.f, s)
		}},
		{"a file is locked", func() {
			n := l.node()
			operate(l.T, l.f, "lock", "-f", n.Hosts, "--node", n.Name, "-r", "a test")
			l.change(nil)
			operate(l.T, l.f, "unlock", "-f", n.Hosts, "--node", n.Name)
		}},
		{"a node is switched", func() {
			n := l.node()
			turn(l.T, n, map[Mode]Mode{Watch: Agent, Agent: Watch}[n.Mode])
			l.change(nil)
		}},
		{"the same is published again", func() {
			l.change(nil)
			if s := l.f.Holder(); s != nil {
				if content, err := os.ReadFile(s.Rendered); err == nil { // it may have just been started anew
					in(l.T, l.f, string(content), "30")
				}
			}
		}},
	}
}

// slowly are troubles of up to a minute.
func (l *longRun) slowly() []trouble {
	return []trouble{
		{"the leader is killed", func() {
			s := l.f.Services[l.rand.IntN(40)]
			comeBack(l.T, l.f, killLeader(l.T, l.f, s, l.rand.IntN(2) == 0))
			published(l.T, l.f, s)
		}},
		{"who renders is killed", func() {
			if s := l.f.Holder(); s != nil {
				kill(l.T, s.Renderer)
			}
			l.change(nil)
		}},
	}
}
