package rollouts_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/hold"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

const three = `{"stages":[{"nodes":{"role":"canary"}},{"share":"50%","bake":"300ms"},{"share":"100%"}]}`

// A good version reaches the canary, half of the nodes and all of them, and becomes current. No node goes back, and no node gets it
// twice.
func TestHealthy(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.nodes["canary"] = &node{w: w, name: "canary", labels: map[string]string{"role": "canary"}}
		w.join(h, append(names("web", 9), "canary")...)
		if got := w.with("one", false); len(got) != 10 {
			t.Fatalf("only %q have the current version", got)
		}
		halves := 0
		w.begin("r1", "two", plan(t, three))
		w.until(rollout.Promoted, func() bool {
			has := len(w.with("two", false))
			row := w.row() // later: it allows no less
			if most := map[int]int{0: 1, 1: 5}[row.Stage]; most > 0 && has > most {
				t.Errorf("%d nodes have it in stage %d", has, row.Stage+1)
			}
			if has == 5 {
				halves++
			}
			return has == 10
		})
		if halves < 20 {
			t.Errorf("the second stage baked for %d0 ms, want 300", halves)
		}
		rows := w.read(layout.Data(hosts), layout.HistoryPending(hosts, 2), layout.Events(hosts))
		events, _ := hold.ParseEvents(rows[layout.Events(hosts)].Value)
		if string(rows[layout.Data(hosts)].Value) != "two" || rows[layout.HistoryPending(hosts, 2)].State != kv.Absent ||
			len(events) != 1 || events[0].Action != hold.ActionPromoted {
			t.Errorf("the store has %+v", rows)
		}
		for name, n := range w.nodes {
			if !slices.Equal(n.had, []string{"one", "two"}) {
				t.Errorf("%s had %q", name, n.had)
			}
		}
		pass(time.Second)
		if c := h.Counts(); len(c.Open) != 0 || c.Ends[rollout.Promoted] != 1 {
			t.Errorf("the counts are %+v", c)
		}
	})
}

// A rollout costs each node two snapshots, the candidate and its promotion, and a question for each bake.
func TestMessages(t *testing.T) {
	for bake, questions := range map[string]int{"0s": 0, "300ms": 1} {
		within(t, func(w *world) {
			h := w.hub()
			w.join(h, names("web", 20)...)
			before := h.fan.Counts().Pushed
			w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%","bake":"`+bake+`"}]}`))
			w.until(rollout.Promoted)
			pass(5 * time.Second)
			if n := h.fan.Counts().Pushed - before; n != 40 {
				t.Errorf("bake %s: %d snapshots for 20 nodes", bake, n)
			}
			for name, n := range w.nodes {
				n.mu.Lock()
				if n.asks != questions {
					t.Errorf("bake %s: %d questions to %s", bake, n.asks, name)
				}
				n.mu.Unlock()
			}
		})
	}
}

// A bad version touches the canary alone, which goes back. The version is withdrawn, with the reason.
func TestReverted(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.nodes["canary"] = &node{w: w, name: "canary", labels: map[string]string{"role": "canary"},
			state: func(string) rollout.HealthState { return rollout.Failed }}
		w.join(h, append(names("web", 9), "canary")...)
		w.begin("r1", "two", plan(t, three))
		began := time.Now()
		row := w.until(rollout.Reverted, func() bool { return len(w.with("one", false)) == 10 })
		if got := w.with("two", true); !slices.Equal(got, []string{"canary"}) || row.Reason == "" {
			t.Errorf("%q had the bad version; the reason is %q", got, row.Reason)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
		if e := w.read(layout.HistoryWithdrawn(hosts, 2))[layout.HistoryWithdrawn(hosts, 2)]; e.State != kv.Present {
			t.Error("the version is not withdrawn")
		}
		for _, outputs := range []bool{false, true} {
			v, err := h.View(context.Background(), hosts, 0, 0, outputs)
			if err != nil || v.Row == nil || len(v.Failed) != 1 || (v.Failed[0].Output == "no such zone") != outputs {
				t.Errorf("the view is %+v, %v", v, err)
			}
		}
	})
}

// An operator, the controller and another hub write one row. What the operator said holds.
func TestOperator(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 4)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"count":1},{"share":"100%","pause_before":true}]}`))
		w.until(rollout.Paused)
		pass(5 * time.Second)
		if got := w.with("two", true); len(got) != 1 {
			t.Errorf("%q have it before the second stage", got)
		}
		w.change(func(r rollout.Row) (rollout.Row, error) { return r.Promote(false) })
		w.until(rollout.Promoted, func() bool { return len(w.with("two", false)) == 4 })
	})
}

// resume ends a stop as the command does.
func (w *world) resume() {
	sum := string(w.read(layout.Checksum(hosts))[layout.Checksum(hosts)].Value)
	w.commit(kv.Op{Verb: kv.Delete, Path: layout.Stop(hosts)}, kv.Op{Verb: kv.Delete, Path: layout.Checksum(hosts)},
		put(layout.Checksum(hosts), sum))
}

// `resume` writes the checksum again. The rollout goes on after it, and ends well.
func TestStopped(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 4)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"count":1,"bake":"5s"},{"share":"100%"}]}`))
		pass(time.Second)
		w.commit(put(layout.Stop(hosts), "incident"))
		pass(time.Minute)
		if row := w.row(); row.State != rollout.Running || len(w.with("two", true)) != 1 {
			t.Fatalf("while the key is stopped, the rollout is %s with %q", row.State, w.with("two", true))
		}
		w.resume()
		w.until(rollout.Promoted, func() bool { return len(w.with("two", false)) == 4 })
	})
	// The operator promotes it during the stop: the first write after it is the promotion.
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 4)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"count":1,"bake":"5s"},{"share":"100%"}]}`))
		pass(time.Second)
		w.commit(put(layout.Stop(hosts), "incident"))
		w.change(func(r rollout.Row) (rollout.Row, error) { return r.Promote(true) })
		pass(time.Second)
		w.resume()
		w.until(rollout.Promoted, func() bool { return len(w.with("two", false)) == 4 })
	})
}

// If another publisher makes a version current, its version goes to all nodes, those with the candidate included.
func TestSuperseded(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 4)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"count":1,"bake":"1h"},{"share":"100%"}]}`))
		pass(time.Second)
		w.commit(version(t, 3, "three")...)
		w.until(rollout.Superseded, func() bool { return len(w.with("three", false)) == 4 })
		if got := w.with("two", true); len(got) != 1 {
			t.Errorf("%q had the candidate", got)
		}
	})
}

// Nodes of both hubs take part. If the controller dies in the middle, the other hub ends the rollout, and no node goes back.
func TestTakeover(t *testing.T) {
	for _, dies := range []bool{false, true} {
		within(t, func(w *world) {
			a := w.hub()
			b := w.hub()
			w.join(a, names("a", 5)...)
			w.join(b, names("b", 5)...)
			w.begin("r1", "two", plan(t, `{"stages":[{"count":1},{"share":"50%","bake":"5s"},{"share":"100%"}]}`))
			row := w.until(rollout.Running, func() bool { return len(w.with("two", false)) == 5 })
			if dies {
				first, second := a, b
				if row.Controller[:5] == "hub-1" {
					first, second = b, a
				}
				first.stop()
				for _, name := range names(map[*hub]string{a: "a", b: "b"}[first], 5) {
					w.join(second, name)
				}
			}
			w.until(rollout.Promoted, func() bool { return len(w.with("two", false)) == 10 })
			for name, n := range w.nodes {
				if !slices.Equal(n.had, []string{"one", "two"}) {
					t.Errorf("%s had %q", name, n.had)
				}
			}
		})
	}
}

// A node that fails at the other hub ends the rollout for the nodes of both.
func TestFailureAtPeer(t *testing.T) {
	within(t, func(w *world) {
		a := w.hub()
		b := w.hub()
		for _, name := range append(names("a", 5), names("b", 5)...) {
			w.nodes[name] = &node{w: w, name: name}
		}
		bad := w.nodes["b-03"]
		bad.state = func(string) rollout.HealthState { return rollout.Failed }
		w.join(a, names("a", 5)...)
		w.join(b, names("b", 5)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%"}]}`))
		w.until(rollout.Reverted, func() bool { return len(w.with("one", false)) == 10 })
	})
}

// If the hubs cannot ask each other, the controller counts its own nodes, and promotes for all: the others have the current version.
func TestPeerCutOff(t *testing.T) {
	within(t, func(w *world) {
		a := w.hub()
		b := w.hub()
		w.join(a, names("a", 5)...)
		w.join(b, names("b", 5)...)
		b.alone.Store(true)
		a.alone.Store(true)
		w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%","bake":"10s"}]}`))
		pass(8 * time.Second)
		if got := w.with("two", false); len(got) != 5 || got[0][0] != got[4][0] {
			t.Errorf("%q have the candidate, want those of one hub", got)
		}
		w.until(rollout.Promoted, func() bool { return len(w.with("two", false)) == 10 })
	})
}

// A peer that is cut off with admitted nodes: they count as silent, the rollout fails, and its nodes go back all the same.
func TestPeerLost(t *testing.T) {
	within(t, func(w *world) {
		a := w.hub()
		b := w.hub()
		w.join(a, names("a", 5)...)
		w.join(b, names("b", 5)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%","bake":"20s"}],"timeout":"30s"}`))
		pass(5 * time.Second)
		if got := w.with("two", false); len(got) != 10 {
			t.Fatalf("only %q have it", got)
		}
		b.alone.Store(true)
		a.alone.Store(true)
		w.until(rollout.Reverted, func() bool { return len(w.with("one", false)) == 10 })
	})
}

// A gate must pass, gets the file, and the reason names it if it does not.
func TestGate(t *testing.T) {
	for command, want := range map[string]rollout.State{
		`test "$(cat) $KEY $VERSION $STAGE" = "two hosts 2 1"`: rollout.Promoted,
		`exit 3`: rollout.Reverted,
	} {
		within(t, func(w *world) {
			h := w.hub(func(o *rollouts.Options) {
				o.Gates = map[string]rollouts.Gate{"dns": {Run: []string{"sh", "-c", command}}}
			})
			w.join(h, names("web", 2)...)
			w.begin("r1", "two", plan(t, `{"stages":[{"count":1}],"gates":["dns"]}`))
			row := w.until(want)
			if want == rollout.Reverted && !strings.Contains(row.Reason, "dns") {
				t.Errorf("the reason is %q", row.Reason)
			}
		})
	}
}
