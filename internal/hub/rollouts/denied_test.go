package rollouts_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// deniable is a store that denies writes of the live version while it is told to, and counts them.
type deniable struct {
	*embedded.Store
	denies atomic.Bool
	tries  atomic.Int64
}

func (d *deniable) Commit(ctx context.Context, ops []kv.Op) (map[string]uint64, error) {
	for _, op := range ops {
		if d.denies.Load() && op.Path == layout.Data(hosts) {
			d.tries.Add(1)
			return nil, kv.ErrDenied
		}
	}
	return d.Store.Commit(ctx, ops)
}

// A hub that may not make a version current says so in the row, with a remedy, and tries again at longer and longer intervals. The
// rollout ends when the right comes, with its timeout, or by an operator.
func TestPromotionDenied(t *testing.T) {
	for _, end := range []rollout.State{rollout.Promoted, rollout.Reverted, rollout.Aborted} {
		within(t, func(w *world) {
			d := &deniable{Store: w.store}
			d.denies.Store(true)
			h := w.hub(func(o *rollouts.Options) { o.Store = d })
			w.join(h, names("web", 3)...)
			w.begin("r1", "two", plan(t, `{"stages":[{"count":1},{"share":"100%"}]}`))
			w.until(rollout.Running, func() bool { return w.row().Reason != "" })
			pass(30 * time.Second)
			row := w.row()
			for _, word := range []string{"hub-0", layout.Dir(hosts), "`kvexpress acl hub --rollouts`"} {
				if row.State != rollout.Running || !strings.Contains(row.Reason, word) {
					t.Errorf("it is %s, and says %q, without %s", row.State, row.Reason, word)
				}
			}
			if n := d.tries.Load(); n < 6 || n > 20 { // each is made without its event, too
				t.Errorf("%d tries in 30 s", n)
			}
			switch end {
			case rollout.Promoted:
				d.denies.Store(false)
			case rollout.Aborted:
				w.change(func(r rollout.Row) (rollout.Row, error) { return r.Abort("by an operator") })
			}
			row = w.until(end)
			want, reason := "one", "may not write below"
			switch end {
			case rollout.Promoted:
				want, reason = "two", ""
			case rollout.Aborted:
				reason = "by an operator"
			}
			pass(5 * time.Second)
			if got := w.with(want, false); len(got) != 3 || !strings.Contains(row.Reason, reason) {
				t.Errorf("it is %s (%s), and only %q have version %s", row.State, row.Reason, got, want)
			}
		})
	}
}

// A hub forgets the nodes of a rollout, and what their commands printed, an hour after its end. The row stays.
func TestForgotten(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.nodes["web"] = &node{w: w, name: "web", state: func(string) rollout.HealthState { return rollout.Failed }}
		w.join(h, "web")
		w.begin("r1", "two", plan(t, `{"stages":[{"share":"100%"}]}`))
		w.until(rollout.Reverted)
		view := func() rollout.View {
			v, err := h.View(context.Background(), hosts, 0, 0, true)
			if err != nil || v.Row == nil || v.Row.State != rollout.Reverted {
				t.Fatalf("the view is %+v, %v", v, err)
			}
			return v
		}
		pass(55 * time.Minute)
		if v := view(); len(v.Failed) != 1 || v.Failed[0].Output == "" {
			t.Errorf("after 55 minutes it knows %+v", v.Failed)
		}
		pass(10 * time.Minute)
		if v := view(); len(v.Failed) != 0 {
			t.Errorf("after 65 minutes it still knows %+v", v.Failed)
		}
	})
}
