//go:build linux

package agent

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// Faults that an agent notices only when its watch ends, after a little more than a minute. So
// they all run at the same time.
func agentFaultsOverAMinute(t *testing.T) {
	c := e2e.StartCluster(t, consultest.WithACL(), consultest.WithConfig(map[string]any{"acl": map[string]any{"token_ttl": "1s"}}))
	back := storeThatGoesBack(t, c) // the first one: others' tokens and keys would go with it
	hole := blackHole(t, c)
	back()
	hole()
}

// storeThatGoesBack: a snapshot is restored under agents that watch. They follow, and say so; a
// target that refuses older versions keeps its file. A restore answers a watch with the index
// from before. Without a reconcile after such an answer, it would take a minute.
func storeThatGoesBack(t *testing.T, c *e2e.Cluster) (rest func()) {
	x := c.Site(t, 0)
	var daemons []*e2e.Daemon
	file := func(i int) string { return fmt.Sprintf("back-%d", i) }
	x.Publish("back", e2e.Version(1))
	for i, s := range c.Servers {
		targets := []e2e.Fields{{"key": "back", "file": x.Path(file(i))}}
		if i == 0 {
			targets = append(targets, e2e.Fields{"key": "back", "file": x.Path("refuses"), "refuse_older": true})
		}
		agentConfig(x, file(i), []string{s.Addr}, targets...)
		daemons = append(daemons, x.Agent(file(i)))
		daemons[i].Delivers(file(i), e2e.Version(1))
	}
	status, snapshot, err := c.Servers[0].Request(http.MethodGet, "/v1/snapshot", x.Store.Token, nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("take a snapshot: %d %v", status, err)
	}
	for n := 2; n <= 3; n++ {
		x.Publish("back", e2e.Version(n))
		for i, d := range daemons {
			d.Delivers(file(i), e2e.Version(n))
		}
	}
	daemons[0].Delivers("refuses", e2e.Version(3))
	restored := time.Now()
	status, answer, err := c.Servers[0].Request(http.MethodPut, "/v1/snapshot", x.Store.Token, snapshot)
	if err != nil || status != http.StatusOK {
		t.Fatalf("restore a snapshot: %d %s %v", status, answer, err)
	}
	return func() {
		for i, d := range daemons {
			// Not only when its watch is over, which takes a minute.
			d.Delivers(file(i), e2e.Version(1))
			if took := d.Target(file(i)).Changed.Sub(restored); took > 45*time.Second {
				t.Errorf("the agent follows after %v", took)
			}
			if !strings.Contains(d.Said(), "from 3 to 1") {
				t.Error("it follows without a word")
			}
		}
		t.Logf("a restored snapshot is followed at all servers within %v", time.Since(restored).Round(100*time.Millisecond))
		if s := daemons[0].Becomes("refuses", outcome.Older); !strings.Contains(s.Detail, "3 to 1") {
			t.Errorf("%+v", s)
		}
		for n := 2; n <= 4; n++ {
			x.Publish("back", e2e.Version(100+n))
			for i, d := range daemons {
				d.Delivers(file(i), e2e.Version(100+n))
			}
			if n < 3 { // the store has not caught up with what it lost
				x.Holds("refuses", e2e.Version(3))
			}
		}
		daemons[0].Delivers("refuses", e2e.Version(104))
		for _, d := range daemons {
			d.Kill()
		}
	}
}
