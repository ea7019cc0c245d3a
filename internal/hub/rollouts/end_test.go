package rollouts_test

import (
	"context"
	"testing"
	"time"

	"kvexpress/internal/rollout"
)

// After the end, the View of the controller keeps the numbers of each stage, and the others say that they do not know them.
func TestViewAfterTheEnd(t *testing.T) {
	within(t, func(w *world) {
		a := w.hub()
		b := w.hub()
		w.join(a, names("a", 3)...)
		w.join(b, names("b", 2)...)
		w.begin("r1", "two", plan(t, `{"stages":[{"count":1},{"share":"100%"}]}`))
		w.until(rollout.Promoted)
		pass(time.Minute)
		known := 0
		for _, h := range w.hubs {
			v, err := h.View(context.Background(), hosts, 0, 0, false)
			if err != nil || v.Row == nil || len(v.Stages) != 2 || !v.Stages[1].Done {
				t.Fatalf("the view is %+v, %v", v, err)
			}
			if want := map[bool]int{true: 5}[v.Controls]; v.Stages[1].Nodes != want || v.Stages[1].Healthy != want {
				t.Errorf("controls: %v: the last stage is %+v", v.Controls, v.Stages[1])
			}
			if v.Controls {
				known++
			}
		}
		if known != 1 {
			t.Errorf("%d hubs are the controller", known)
		}
	})
}
