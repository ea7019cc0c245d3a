package rollouts_test

import (
	"testing"
	"time"

	"kvexpress/internal/rollout"
)

// A hub that is told of a row, and needs a while until its snapshot has it, follows the second rollout of a key as well.
func TestSecondRollout(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 3)...)
		for _, id := range []string{"r1", "r2"} {
			w.begin(id, "two", plan(t, `{"stages":[{"count":1,"bake":"1s"},{"share":"100%"}]}`))
			w.until(rollout.Running, func() bool { return w.row().Controller != "" })
			w.change(func(r rollout.Row) (rollout.Row, error) { return r.Abort("by hand") })
			w.until(rollout.Aborted)
			h.slow.Store(true)
			pass(time.Second)
		}
	})
}
