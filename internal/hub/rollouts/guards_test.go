package rollouts_test

import (
	"context"
	"testing"
	"time"

	"kvexpress/internal/rollout"
)

// A snapshot from before the hub's own write does not offer a candidate that the write withdrew.
func TestOwnWriteCounts(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		broken := false
		w.nodes["web"] = &node{w: w, name: "web", state: func(string) rollout.HealthState {
			if broken {
				return rollout.Failed
			}
			return rollout.Healthy
		}}
		w.join(h, "web")
		w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%","bake":"1h"}]}`))
		pass(5 * time.Second)
		before := h.feed.Latest(hosts)
		if got, ok := h.Offer(before, "web", ""); !ok || got == before {
			t.Fatal("the node does not get the candidate")
		}
		w.nodes["web"].mu.Lock()
		broken = true
		w.nodes["web"].mu.Unlock()
		w.until(rollout.Reverted)
		if got, ok := h.Offer(before, "web", "r1"); !ok || got != before {
			t.Error("a snapshot from before the end offers the candidate")
		}
	})
}

// A node that comes with the candidate keeps it, although this hub has not heard that it was admitted. Others do not get it.
func TestOfferToNodeThatHasIt(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, "web")
		w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%","bake":"1h"}]}`))
		pass(time.Second)
		snap := h.feed.Latest(hosts)
		for on, want := range map[string]bool{"r1": true, "": false, "r0": false} {
			if got, ok := h.Offer(snap, "stranger", on); !ok || (got != snap) != want {
				t.Errorf("a node that has the candidate of %q gets it: %v, want %v", on, got != snap, want)
			}
		}
	})
}

// Nodes of a peer that does not answer are not in contact: the next stage does not count them.
func TestLostPeerIsNotCounted(t *testing.T) {
	within(t, func(w *world) {
		a := w.hub()
		b := w.hub()
		b.Leave(context.Background()) // it does not become the controller
		w.nodes["canary"] = &node{w: w, name: "canary", labels: map[string]string{"role": "canary"}}
		w.join(a, append(names("a", 4), "canary")...)
		w.join(b, names("b", 5)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"nodes":{"role":"canary"},"bake":"10s"},{"share":"100%"}]}`))
		pass(2 * time.Second)
		if row := w.row(); row.Counted != 10 {
			t.Fatalf("the first stage counts %d nodes, want 10", row.Counted)
		}
		b.alone.Store(true)
		if row := w.until(rollout.Promoted); row.Counted != 5 {
			t.Errorf("the last stage counts %d nodes, want 5", row.Counted)
		}
	})
}
