package rollouts_test

import (
	"fmt"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// A hub that is told of a row, and needs a while until its snapshot has it, follows the second rollout of a key as well.
func TestSecondRollout(t *testing.T) {
	within(t, func(w *world) {
		h := w.hub()
		w.join(h, names("web", 3)...)
		lock := put(layout.Lock("/etc/other", "web-1"), "x")
		for i, more := range [][]kv.Op{nil, nil, {lock}} {
			w.begin(fmt.Sprint("r", i), "two", plan(t, `{"stages":[{"count":1,"bake":"1s"},{"share":"100%"}]}`), more...)
			w.until(rollout.Running, func() bool { return w.row().Controller != "" })
			w.change(func(r rollout.Row) (rollout.Row, error) { return r.Abort("by hand") })
			w.until(rollout.Aborted)
			h.slow.Store(true)
			pass(time.Second)
		}
	})
}
