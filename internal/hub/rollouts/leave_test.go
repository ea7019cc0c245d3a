package rollouts_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/rollout"
)

// A controller that drains gives its rollout away when its nodes have moved: the other hub goes on at once, and no node goes back.
// If no other hub can be asked, the row keeps its controller.
func TestLeave(t *testing.T) {
	for _, alone := range []bool{false, true} {
		within(t, func(w *world) {
			hubs := map[string]*hub{"hub-0": w.hub(), "hub-1": w.hub()}
			w.join(hubs["hub-0"], names("a", 5)...)
			w.join(hubs["hub-1"], names("b", 5)...)
			hubs["hub-0"].alone.Store(alone)
			w.begin("r1", "two", plan(t, `{"stages":[{"count":2},{"share":"50%","bake":"20s"},{"share":"100%"}]}`))
			pass(5 * time.Second)
			name, _, _ := strings.Cut(w.row().Controller, "#")
			other := map[string]string{"hub-0": "hub-1", "hub-1": "hub-0"}[name]
			first, second := hubs[name], hubs[other]
			for _, n := range names(map[string]string{"hub-0": "a", "hub-1": "b"}[name], 5) {
				w.join(second, n)
			}
			pass(time.Second)
			began := time.Now()
			first.Leave(context.Background())
			row := w.row()
			first.stop()
			if alone {
				if row.Controller == "" || time.Since(began) > 0 {
					t.Errorf("after %s the controller is %q, and no other hub can be asked", time.Since(began), row.Controller)
				}
			} else {
				row = w.until(rollout.Running, func() bool { return strings.HasPrefix(w.row().Controller, other) })
				if took := time.Since(began); took > 100*time.Millisecond || row.Admitted != 5 {
					t.Errorf("after %s the other hub has the rollout, with %d nodes, want 5", took, row.Admitted)
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

// A hub that ends does not begin a rollout.
func TestLeaveClaimsNothing(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 2)...)
		h.Leave(context.Background())
		w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%"}]}`))
		pass(10 * time.Second)
		if row := w.row(); row.Controller != "" {
			t.Errorf("the controller is %q", row.Controller)
		}
	})
}
