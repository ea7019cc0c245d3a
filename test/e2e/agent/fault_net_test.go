//go:build linux

package agent

import (
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/test/e2e"
)

// blackHole: answers disappear without an error, and connections stay open. The agent notices, and opens new ones. The function that it
// returns checks the rest, after a while. Without the time limit of a watch, the agent would never notice.
func blackHole(t *testing.T, c *e2e.Cluster) (rest func()) {
	x := c.Site(t, 1)
	front := newFront(t, x.Store.Server.Addr)
	var hole atomic.Bool
	front.hole(&hole)
	x.Publish("hole", e2e.Version(1))
	agentConfig(x, "agent", []string{front.addr}, to(x, "hole"))
	d := x.Agent("agent")
	d.Delivers("hole", e2e.Version(1))
	hole.Store(true)
	from := time.Now()
	x.Publish("hole", e2e.Version(2))
	return func() {
		e2e.Within(t, 2*time.Minute, "the agent notices", func() bool { return !d.Status().Store.Up })
		noticed := time.Since(from)
		t.Logf("black hole: noticed within %v", noticed.Round(time.Second))
		if noticed > 90*time.Second {
			t.Errorf("it took %v", noticed)
		}
		x.Holds("hole", e2e.Version(1))
		hole.Store(false)
		began := time.Now()
		d.Delivers("hole", e2e.Version(2))
		t.Logf("delivered %v after the end of the hole", time.Since(began).Round(time.Millisecond))
	}
}
