package agent

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/config"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/wire"
)

// on waits until the agent follows a hub.
func (s *site) on(addr string, within time.Duration) {
	s.t.Helper()
	for range 100 {
		if s.agent.Status().Hub.Addr == addr {
			return
		}
		pass(within / 100)
	}
	s.t.Fatalf("it is not on %s within %s: %+v", addr, within, s.agent.Status().Hub)
}

// session is the connection of the agent now.
func (s *site) session() *session {
	s.agent.hubs.mu.Lock()
	defer s.agent.hubs.mu.Unlock()
	return s.agent.hubs.session
}

// home is the hub that the site's node prefers, and the other one.
func home(s *site, hubs map[string]*fakeHub) (first, second *fakeHub, order []string) {
	order = preferred("web-17", slices.Sorted(func(yield func(string) bool) {
		for name := range hubs {
			if !yield(name) {
				return
			}
		}
	}))
	return hubs[order[0]], hubs[order[1]], order
}

// An agent leaves a hub that asks for it, one that is lost, silent or behind, and goes home later.
func TestHubMoves(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	for name, trouble := range map[string]struct {
		begin, end func(h *fakeHub)
		within     time.Duration
	}{
		"it drains": {
			func(h *fakeHub) { h.down.Store(true); h.tell(wire.FromHub{Leave: &wire.Leave{Within: 3000}}) },
			func(h *fakeHub) { h.down.Store(false) }, 3 * time.Second,
		},
		"it is killed": {func(h *fakeHub) { h.cut() }, func(h *fakeHub) { h.down.Store(false) }, time.Second},
		"it is silent": {
			func(h *fakeHub) { h.mute.Store(true); h.down.Store(true) },
			func(h *fakeHub) { h.mute.Store(false); h.down.Store(false) }, wire.SilentFor + 2*time.Second,
		},
		"it is behind": {
			func(h *fakeHub) { h.age.Store((40 * time.Second).Milliseconds()) }, func(h *fakeHub) { h.age.Store(0) },
			2*homeEvery + wire.BeatEvery,
		},
		"it is cut off from the store": {
			func(h *fakeHub) {
				pass(homeEvery * 2 / 3) // not just before it would look for its preferred hub anyway
				go func() {
					for s := int64(0); !mended.Load(); s++ {
						h.age.Store(s * 1000)
						pass(time.Second)
					}
					h.age.Store(0)
				}()
			}, func(*fakeHub) { mended.Store(true) }, StaleAfter + wire.BeatEvery,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hubTest(t, 2, []string{"a:1", "b:1", "c:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
				first, second, order := home(s, hubs)
				s.begin()
				pass(time.Minute)
				s.on(order[0], time.Second)
				trouble.begin(first)
				s.on(order[1], trouble.within)
				s.send("k0", "two\n")
				second.push("k0")
				pass(time.Millisecond)
				s.holds(0, "two\n")
				pass(3 * time.Minute)
				s.on(order[1], time.Second) // not home, as long as the trouble lasts
				trouble.end(first)
				s.on(order[0], 2*homeEvery+time.Second)
				s.send("k1", "two\n")
				first.push("k1")
				pass(time.Second)
				s.all(outcome.Converged, "two\n")
				if st := s.agent.Status(); st.Requests > 4 || st.Hub.Direct { // of a reconcile while the hub was silent
					t.Errorf("%d requests to the store", st.Requests)
				}
			})
		})
	}
}

// A hub that the agent has left says nothing any more, whatever is still in a buffer.
func TestHubMovedNeverGoesBack(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1", "b:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		first, _, order := home(s, hubs)
		s.begin()
		pass(time.Minute)
		old := s.session()
		s.send("k0", "two\n")
		late := first.link(t).snapshot("k0", 0, false)
		s.set(s.layout.Stop("k0"), "bad")
		first.down.Store(true)
		first.tell(wire.FromHub{Leave: &wire.Leave{}})
		s.on(order[1], wire.Fresh/4)
		if err := old.handle(late, time.Now()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		s.all(outcome.Stopped, "one\n")
	})
}

// If an answer is faster than an older snapshot that is pushed, the answer counts.
func TestHubOlderPush(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(time.Minute)
		s.send("k0", "two\n")
		late := hubs["a:1"].link(t).snapshot("k0", 0, false)
		pass(time.Millisecond)
		s.lock(0, "maintenance")
		if _, _, err := s.read(kv.Consistent, s.paths(0)); err != nil {
			t.Fatal(err)
		}
		if err := s.session().handle(late, time.Now()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		s.all(outcome.Locked, "one\n")
	})
}

// An agent does not move to a hub that knows less.
func TestHubStays(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1", "b:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		first, second, order := home(s, hubs)
		s.begin()
		pass(time.Minute)
		first.age.Store((40 * time.Second).Milliseconds())
		second.age.Store((70 * time.Second).Milliseconds())
		pass(5 * time.Minute)
		s.on(order[0], time.Second)
		if _, dials := second.greeted(); dials < 4 || dials > 12 {
			t.Errorf("the other hub was asked %d times in five minutes", dials)
		}
	})
}

// A hub that refuses the agent is left alone for a minute. The other one, or the store, serves it.
func TestHubRefuses(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1", "b:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		first, second, order := home(s, hubs)
		refused := &wire.Refused{Reason: wire.Token, Says: "the store does not know the token"}
		first.refuse.Store(refused)
		s.begin()
		pass(50 * time.Millisecond)
		s.on(order[1], time.Second)
		s.all(outcome.Converged, "one\n")
		second.refuse.Store(refused)
		second.tell(wire.FromHub{Refused: refused})
		pass(10 * time.Minute)
		if st := s.agent.Status(); !st.Hub.Direct || st.Hub.Error == "" {
			t.Errorf("%+v", st.Hub)
		}
		for _, h := range hubs {
			if hellos, _ := h.greeted(); len(hellos) > 12 {
				t.Errorf("%d hellos in ten minutes", len(hellos))
			}
		}
		s.all(outcome.Converged, "one\n")
		pass(15 * time.Second)
		first.refuse.Store(nil)
		if err := s.agent.Reload(s.config); err != nil { // the operator has corrected the token
			t.Fatal(err)
		}
		s.on(order[0], time.Second)
	})
}

// A hub that accepts agents and fails at once is not asked in a busy loop.
func TestHubFailsAtOnce(t *testing.T) {
	t.Parallel()
	hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		for range 600 {
			pass(time.Second)
			hubs["a:1"].cut()
			hubs["a:1"].down.Store(false)
		}
		if _, dials := hubs["a:1"].greeted(); dials > 90 {
			t.Errorf("%d connections in ten minutes", dials)
		}
		pass(time.Minute)
		s.all(outcome.Converged, "one\n")
	})
}

// At the start without a hub, the store is asked within five seconds. With direct: false, it is never asked.
func TestHubNone(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprint(direct), func(t *testing.T) {
			t.Parallel()
			hubTest(t, 1, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
				s.config.Hubs.Direct = direct
				hubs["a:1"].down.Store(true)
				s.begin()
				pass(mostFirst + time.Second)
				if direct {
					s.all(outcome.Converged, "one\n")
					return
				}
				pass(10 * time.Minute)
				st := s.agent.Status()
				if st.Requests != 0 || st.Targets[0].Outcome != outcome.Unreachable || st.NoContact(time.Now()) == "" {
					t.Errorf("%d requests, %s", st.Requests, st.Targets[0].Outcome)
				}
				hubs["a:1"].down.Store(false)
				pass(time.Minute)
				s.all(outcome.Converged, "one\n")
				hubs["a:1"].cut()
				pass(10 * time.Minute)
				s.all(outcome.Unreachable, "one\n")
			})
		})
	}
}

// A reload changes the hello on the same connection: targets, labels, the token. Other reloads send nothing.
func TestHubReload(t *testing.T) {
	t.Parallel()
	hubTest(t, 2, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.token.Store("first")
		all := s.config.Targets
		s.config.Targets = all[:1]
		s.begin()
		for _, change := range []func(){
			func() {},
			func() { s.config.Targets = all },
			func() { s.config.Labels = map[string]string{"rack": "7"} },
			func() { s.token.Store("second") },
			func() {},
		} {
			pass(time.Minute)
			c := s.config
			change()
			c.Targets, c.Labels = s.config.Targets, s.config.Labels
			if err := s.agent.Reload(c); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		s.all(outcome.Converged, "one\n")
		hellos, dials := hubs["a:1"].greeted()
		if last := hellos[len(hellos)-1]; len(hellos) != 4 || dials != 1 || len(last.Targets) != 2 || last.Labels["rack"] != "7" ||
			last.Token != "second" || last.Targets[0].SHA256 == "" {
			t.Errorf("%d hellos, %d connections, the last is %+v", len(hellos), dials, last)
		}
		// Two in a second are sent one after the other.
		for _, rack := range []string{"8", "9"} {
			c := s.config
			c.Labels = map[string]string{"rack": rack}
			if err := s.agent.Reload(c); err != nil {
				t.Fatal(err)
			}
		}
		pass(2 * time.Second)
		if hellos, _ := hubs["a:1"].greeted(); len(hellos) != 6 || hellos[5].Labels["rack"] != "9" {
			t.Errorf("%d hellos", len(hellos))
		}
		c := s.config
		c.Hubs = config.Hubs{}
		if err := s.agent.Reload(c); err != nil {
			t.Fatal(err)
		}
		pass(30 * time.Second) // a watch is asked again after a minute
		if st := s.agent.Status(); st.Hub != nil || s.store.waiting.Load() != 2 {
			t.Errorf("%+v, %d watches", st.Hub, s.store.waiting.Load())
		}
	})
}

// 500 targets have one connection.
func TestHubManyTargets(t *testing.T) {
	t.Parallel()
	const targets = 500
	hubTest(t, targets, []string{"a:1"}, func(t *testing.T, s *site, hubs map[string]*fakeHub) {
		s.begin()
		pass(10 * time.Second)
		s.all(outcome.Converged, "one\n")
		for i := range targets {
			key := kv.Key(fmt.Sprint("k", i))
			s.send(key, "two\n")
			hubs["a:1"].push(key)
		}
		pass(10 * time.Second)
		s.all(outcome.Converged, "two\n")
		st := s.agent.Status()
		if _, dials := hubs["a:1"].greeted(); dials != 1 || st.Requests != 0 || st.Targets[targets-1].Polled {
			t.Errorf("%d connections, %d requests", dials, st.Requests)
		}
	})
}

// Nodes spread over hubs, and keep their hub when another one comes or goes.
func TestPreferred(t *testing.T) {
	t.Parallel()
	first := map[string]int{}
	for i := range 1000 {
		node := fmt.Sprint("node-", i)
		order := preferred(node, []string{"a", "b", "c"})
		first[order[0]]++
		without := slices.DeleteFunc(slices.Clone(order), func(a string) bool { return a == order[1] })
		if got := preferred(node, without); !slices.Equal(got, without) {
			t.Errorf("%s: %v without %s is %v", node, order, order[1], got)
		}
	}
	for addr, n := range first {
		if n < 250 || n > 420 {
			t.Errorf("%s is preferred by %d of 1000", addr, n)
		}
	}
}
