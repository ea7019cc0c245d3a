package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/kv"
)

const day = 24 * time.Hour

// row is a fleet in the order of the store's writes: places 1, 2, 3 …, a second
// apart, unless a test says otherwise.
func row(offs ...time.Duration) []moment {
	var all []moment
	for i, off := range offs {
		all = append(all, moment{index: uint64(i + 1), at: start().Add(time.Duration(i)*time.Second + off)})
	}
	return all
}

// off are the moments whose clocks are said to be wrong, to the second.
func (c clock) off(all []moment) map[uint64]time.Duration {
	wrong := map[uint64]time.Duration{}
	for _, m := range all {
		if _, _, off, _ := c.when(m); off != 0 {
			wrong[m.index] = off.Round(2 * time.Second)
		}
	}
	return wrong
}

func TestClocks(t *testing.T) {
	scrambled := row(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for i := range scrambled { // each a minute after the other, put back by their names
		scrambled[i].index = uint64((i*7)%20 + 1)
		scrambled[i].at = start().Add(time.Duration(i) * time.Minute)
	}
	for name, tt := range map[string]struct {
		all     []moment
		wrong   map[uint64]time.Duration
		certain bool
	}{
		"all are right":          {row(0, 0, 0, 0, 0), nil, true},
		"they differ a little":   {row(900*time.Millisecond, 0, -900*time.Millisecond, 0, 900*time.Millisecond, 0), nil, true},
		"one is a day ahead":     {row(0, 0, day, 0, 0), map[uint64]time.Duration{3: day}, true},
		"one is a day behind":    {row(0, 0, -day, 0, 0), map[uint64]time.Duration{3: -day}, true},
		"one is 3 s ahead":       {row(0, 0, 0, 4*time.Second, 0, 0, 0), map[uint64]time.Duration{4: 4 * time.Second}, true},
		"the first is ahead":     {row(day, 0, 0, 0, 0), map[uint64]time.Duration{1: day}, true},
		"the last is behind":     {row(0, 0, 0, 0, -day), map[uint64]time.Duration{5: -day}, true},
		"two, in both ways":      {row(0, day, 0, 0, -day, 0), map[uint64]time.Duration{2: day, 5: -day}, true},
		"two of six, in step":    {row(0, 0, day, 0, day, 0, 0), map[uint64]time.Duration{3: day, 5: day}, true},
		"one alone":              {row(0), nil, true},
		"none":                   {nil, nil, false},
		"two that contradict":    {row(day, 0), nil, false},
		"half of them is wrong":  {row(day, 0, day, 0, day, 0), nil, false},
		"put back from a backup": {scrambled, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock(tt.all)
			if wrong := c.off(tt.all); fmt.Sprint(wrong) != fmt.Sprint(tt.wrong) && len(wrong)+len(tt.wrong) > 0 || c.certain != tt.certain {
				t.Errorf("wrong are %v, want %v; certain %t, want %t", wrong, tt.wrong, c.certain, tt.certain)
			}
		})
	}
}

// A clock that is wrong gets its time from those around it, to within what lies
// between them.
func TestTimeOfAWrongClock(t *testing.T) {
	all := row(0, 0, day, 0, 0)
	at, give, off, ok := newClock(all).when(all[2])
	if want := start().Add(2 * time.Second); !ok || at.Sub(want).Abs() > give || give > time.Second || off-day != want.Sub(at) {
		t.Errorf("%s ± %s, off by %s, %t", at, give, off, ok)
	}
	// With nothing on one side, it is only known what it cannot be.
	all = row(day, 0, 0, 0)
	if at, _, off, ok := newClock(all).when(all[0]); ok || !at.Equal(all[1].at) || off < day-2*time.Second {
		t.Errorf("%s, off by %s, %t", at, off, ok)
	}
}

// A publish of 5,000 nodes within three seconds: writes overtake each other, and one
// clock is 3 s off.
func TestClocksOfALargeFleet(t *testing.T) {
	for _, off := range []time.Duration{3 * time.Second, -3 * time.Second} {
		for _, place := range []int{100, 2500, 4900} {
			random := rand.New(rand.NewPCG(uint64(place), 1))
			all := []moment{{index: 1, at: start().Add(-time.Second), weight: 2}, {index: here, at: start().Add(3500 * time.Millisecond), weight: 3}}
			for i := range 5000 {
				jitter := time.Duration(random.IntN(100)-50) * time.Millisecond
				m := moment{index: uint64(i + 2), at: start().Add(time.Duration(i)*600*time.Microsecond + jitter)}
				if i == place {
					m.at = m.at.Add(off)
				}
				all = append(all, m)
			}
			c := newClock(all)
			for _, m := range all {
				_, _, is, _ := c.when(m)
				if wrong := m.index == uint64(place+2); wrong != (is != 0) || wrong && (is-off).Abs() > time.Second {
					t.Errorf("%d of 5000, off by %s, is said to be off by %s", m.index-2, off, is)
				}
			}
			if !c.certain {
				t.Error("it is not certain")
			}
		}
	}
}

// watchers is a fleet of which some clocks are wrong: reports of nodes, then the
// publish, then reports of some of them again, and then somebody who asks.
type watchers struct {
	roster   Roster
	standing Standing
	wrong    map[string]time.Duration
}

// fleetOf draws one. Only so many are wrong that they are less than half by weight.
func fleetOf(t *rapid.T) watchers {
	n := rapid.IntRange(1, 14).Draw(t, "nodes")
	weight := n + 4 // the publisher, and three for whoever asks
	offs := []time.Duration{0, 0, day, -day, 10 * time.Second, -10 * time.Second, time.Hour}
	w := watchers{wrong: map[string]time.Duration{}, standing: Standing{Key: "hosts", Exists: true, SHA256: sha(2), Index: 1000}}
	wrong := 0
	off := func(who string, heft int) time.Duration {
		d := rapid.SampledFrom(offs).Draw(t, who+" is off by")
		if d == 0 || 2*(wrong+heft) >= weight {
			return 0
		}
		wrong += heft
		w.wrong[who] = d
		return d
	}
	jitter := func() time.Duration {
		return time.Duration(rapid.IntRange(0, 900).Draw(t, "jitter")) * time.Millisecond
	}
	published := start().Add(5 * time.Minute)
	m := kv.Manifest{Lineage: "l", Version: 2, SHA256: sha(2), PublishedAt: published.Add(off("publisher", 1))}
	w.standing.Manifest = &m
	w.roster.Read = published.Add(10*time.Second + off("here", 3) + jitter())
	for i := range n {
		node := Node{Name: fmt.Sprintf("web-%d", i), Index: uint64(100 + i)}
		sent := start().Add(time.Duration(i) * 5 * time.Minute / time.Duration(n))
		target := Target{By: ByAgent, Key: "hosts", File: "/h", Lineage: "l", Version: 1, SHA256: sha(1), State: "current"}
		if rapid.Bool().Draw(t, "reports") {
			node.Index += 1000
			sent = published.Add(time.Duration(i) * 9 * time.Second / time.Duration(n))
			target.Version, target.SHA256 = 2, sha(2)
		}
		node.Receipt = Receipt{Node: node.Name, Sent: sent.Add(off(node.Name, 1) + jitter()), Agent: &Agent{Every: Seconds(5 * time.Minute)}, Targets: []Target{target}}
		w.roster.Nodes = append(w.roster.Nodes, node)
	}
	return w
}

// Nobody is silent here, so that nobody is to be left out: whosever clock is wrong, a
// fleet that is behind is not taken for one that has arrived.
func TestNobodyIsSilentBecauseOfClocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := fleetOf(t)
		if w.wrong["here"] != 0 {
			return // see below
		}
		r := Examine(w.roster, w.standing, Options{})
		for _, l := range append(r.SilentNodes, gone(w)...) {
			// A clock that is behind, before all others, contradicts nobody.
			if i := slices.IndexFunc(w.roster.Nodes, func(n Node) bool { return n.Name == l.Node }); !w.first(i) {
				t.Fatalf("wrong are %v; %s is %s; clocks %+v, unsure %t", w.wrong, l.Node, l.Verdict, r.Clocks, r.ClocksUnsure)
			}
		}
	})
}

// gone are the nodes that a report does not list.
func gone(w watchers) []Line {
	var all []Line
	s := newScene(w.roster, w.standing, Options{})
	for _, n := range w.roster.Nodes {
		if l, _ := s.judge(n); l.Verdict == Gone {
			all = append(all, l)
		}
	}
	return all
}

// first reports whether no clock that is right came before that of a node.
func (w watchers) first(i int) bool {
	return !slices.ContainsFunc(w.roster.Nodes, func(n Node) bool {
		return n.Index < w.roster.Nodes[i].Index && w.wrong[n.Name] == 0
	})
}
