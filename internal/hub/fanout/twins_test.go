package fanout_test

import (
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/wait"
)

// Two agents of one name raise the alarm. A dry run or a doctor beside the agent does not, however long it takes.
func TestTwins(t *testing.T) {
	for probe, want := range map[bool]int{true: 0, false: 1} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			for _, m := range []bool{false, probe} {
				c, h := w.connect(t), hello()
				h.Hello.Probe = m
				c.send(h)
				if c.next().Welcome == nil {
					t.Fatal("no welcome")
				}
			}
			_ = wait.For(t.Context(), 5*time.Second)
			if got := w.Counts().Twins; got != want {
				t.Errorf("the second one is a probe: %v, and %d names are used twice, want %d", probe, got, want)
			}
		})
	}
}
