//go:build linux

package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// agentAndDeletedKeys: a key is deleted and created again. A deletion leaves a tombstone,
// which Consul 1.22 reaps after 15 minutes; no option changes that. After a reap, indexes may
// fall: see "another index each time" of the fake answers. Here are real deletions, followed by
// many unrelated writes. Without a reconcile of a deleted key, its target would stay converged
// for ever.
func agentAndDeletedKeys(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	front := newFront(t, x.Store.Server.Addr)
	x.Publish("hosts", e2e.Version(1))
	agentConfig(x, "agent", []string{front.addr}, to(x, "hosts"))
	d := x.Agent("agent")
	d.Delivers("hosts", e2e.Version(1))
	lineage := d.Target("hosts").Lineage
	n := 1
	for round := range e2e.Times(20) {
		for _, history := range []bool{true, false} {
			removeAll(x.Store, x.Prefix+"/hosts/")
			if !history {
				removeAll(x.Store, x.Prefix+"/.history/hosts/")
			}
			d.Becomes("hosts", outcome.Missing)
			x.Holds("hosts", e2e.Version(n))
			from := time.Now()
			for i := range e2e.Times(1000) {
				x.Store.Put(fmt.Sprintf("%s/other-%d/%d/data", x.Prefix, round, i), "x", 0)
				if i%2 == 0 {
					x.Store.Remove(fmt.Sprintf("%s/other-%d/%d/data", x.Prefix, round, i))
				}
			}
			// Consul answers a watch on a missing key at once if anything at all was
			// written since the last answer; one that waits is not woken by that. To
			// each return belong two reads.
			requests, most := front.requests.since(from), 3*(10+int(time.Since(from)/(250*time.Millisecond)))
			if requests > most {
				t.Errorf("%d writes elsewhere caused %d requests, at most %d are allowed", e2e.Times(1000), requests, most)
			}
			x.Holds("hosts", e2e.Version(n))
			n++
			x.Publish("hosts", e2e.Version(n))
			d.Delivers("hosts", e2e.Version(n))
			now := d.Target("hosts")
			if same := now.Lineage == lineage; same != history {
				t.Errorf("with its history kept: %v, the lineage is the same: %v", history, same)
			}
			lineage = now.Lineage
		}
	}
	if !strings.Contains(d.Said(), "deleted and created again") {
		t.Error("a new lineage is followed without a word")
	}
}

// removeAll deletes all that is below a path.
func removeAll(s *e2e.Store, path string) {
	s.T.Helper()
	if status, answer := s.Request("DELETE", "/v1/kv/"+path+"?recurse", nil); status != 200 {
		s.T.Fatalf("DELETE %s: %d %s", path, status, answer)
	}
}
