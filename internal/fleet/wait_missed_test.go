package fleet_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/kv"
)

// The last receipts come with a look that then cannot read the key. Nothing changes any more, and the next look must
// not wait for a change before it finds that all have arrived. Taken out: that such a look counts for none; then the wait
// ends seconds later, or not in time.
func TestWaitAfterALookThatFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.publish("one\n")
		b.fleet(3, b.want)
		failures := 0
		b.store.read = func(paths []string) error {
			if failures > 0 || !slices.Contains(paths, newLayout(t).Checksum("hosts")) {
				return nil
			}
			failures++
			return failed(kv.ErrUnreachable)
		}
		r, _, err := b.wait(t.Context(), 2*time.Second, nil)
		if err != nil || r.Arrived != 3 || failures != 1 {
			t.Errorf("%v, %d have arrived, after %d failures", err, r.Arrived, failures)
		}
		if n := b.store.lists.Load(); n != 2 {
			t.Errorf("it looked %d times", n)
		}
	})
}
