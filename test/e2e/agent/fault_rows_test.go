//go:build linux

package agent

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/outcome"
	"kvexpress/internal/publish"
	"kvexpress/test/e2e"
)

// agentAndDeletedKeys: a key is deleted and created again. A deletion leaves a tombstone,
// which Consul 1.22 reaps after 15 minutes; no option changes that. After a reap, indexes may
// fall: see "another index each time" of the fake answers. Here are real deletions, followed by
// many unrelated writes. Without a reconcile of a deleted key, its target would stay converged
// for ever.
func agentAndDeletedKeys(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	w := newWire(t, x.Store.Server.Addr)
	x.Publish("hosts", e2e.Version(1))
	agentConfig(x, "agent", []string{w.addr}, to(x, "hosts"))
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
			requests, most := w.requests.since(from), 3*(10+int(time.Since(from)/(250*time.Millisecond)))
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

// agentAndDeletedPrefix: everything is deleted at once. Files stay, and no exec runs, until the
// next publish. A missing key is not reported as empty, because no publisher wrote that.
func agentAndDeletedPrefix(t *testing.T, c *e2e.Cluster) {
	const files = 5
	x := c.Site(t, 1)
	key := func(i int) string { return fmt.Sprintf("team/file-%d", i) }
	file := func(i int) string { return fmt.Sprintf("file-%d", i) }
	var targets []e2e.Fields
	for i := range files {
		x.Publish(key(i), e2e.Version(1))
		targets = append(targets,
			e2e.Fields{"key": key(i), "file": x.Path(file(i)), "exec": x.Script("count", "echo >>"+x.Path("count.ran")+"\n")})
	}
	agentConfig(x, "agent", nil, targets...)
	d := x.Agent("agent")
	for i := range files {
		d.Delivers(file(i), e2e.Version(1))
	}
	e2e.Eventually(t, "the exec ran", func() bool { return x.Read("count.ran") != "" })
	ran := x.Read("count.ran")
	removeAll(x.Store, x.Prefix+"/")
	for i := range files {
		s := d.Becomes(file(i), outcome.Missing)
		if s.Detail == "" {
			t.Error("it does not say why")
		}
		x.Holds(file(i), e2e.Version(1))
	}
	d.Stop() // and over a restart
	d = x.Agent("agent")
	for i := range files {
		d.Becomes(file(i), outcome.Missing)
		x.Holds(file(i), e2e.Version(1))
	}
	if now := x.Read("count.ran"); now != ran {
		t.Error("an exec ran for a file that did not change")
	}
	for i := range files {
		x.Publish(key(i), e2e.Version(2))
		d.Delivers(file(i), e2e.Version(2))
	}
	// The control: 1.x can make a key empty, which could blank a file. That is reported
	// differently from a missing key.
	oldInAt(x.Store, x.Row(key(0), ""), "")
	s := d.Becomes(file(0), outcome.Refused)
	if s.Reason != "empty" {
		t.Errorf("%+v", s)
	}
	x.Holds(file(0), e2e.Version(2))
}

// removeAll deletes all that is below a path.
func removeAll(s *e2e.Store, path string) {
	s.T.Helper()
	if status, answer := s.Request("DELETE", "/v1/kv/"+path+"?recurse", nil); status != 200 {
		s.T.Fatalf("DELETE %s: %d %s", path, status, answer)
	}
}

// oldInAt is `in` of 1.x under any prefix.
func oldInAt(s *e2e.Store, key, content string) {
	s.T.Helper()
	s.Put(key+"data", content, 0)
	s.Put(key+"checksum", e2e.Sum(content), 0)
}

// agentAndClocks has wrong clocks: the publisher's, which is in its manifests, and the node's
// own. The wall clock of one process cannot be shifted here. Its monotonic clock can be, by a
// day, if unshare is allowed. An agent must wait for the end of a lock, or it stays locked.
func agentAndClocks(t *testing.T, c *e2e.Cluster) {
	const day = 24 * time.Hour
	x := c.Site(t, 2)
	x.Publish("hosts", e2e.Version(1))
	agentConfig(x, "agent", nil, to(x, "hosts"))
	d := x.Agent("agent")
	d.Delivers("hosts", e2e.Version(1))
	for i, off := range []time.Duration{day, -day, 10_000 * day, -10_000 * day, 0} {
		p := x.Publisher()
		p.Now = func() time.Time { return time.Now().Add(off) }
		content := e2e.Version(i + 2)
		if _, err := p.Publish(t.Context(), publish.Request{Key: "hosts", Content: []byte(content)}); err != nil {
			t.Fatal(err)
		}
		d.Delivers("hosts", content)
		if now := d.Target("hosts"); now.Version != uint64(i+2) {
			t.Errorf("version %d is in place, want %d", now.Version, i+2)
		}
	}

	d.Kill()

	if err := exec.Command("unshare", shifted("true")...).Run(); err != nil {
		t.Logf("timers are not shifted, unshare: %v", err)
		return
	}
	d = x.Agent("agent", append([]string{"unshare"}, shifted()...)...)
	d.Delivers("hosts", e2e.Version(6))
	x.Publish("hosts", e2e.Version(13))
	d.Delivers("hosts", e2e.Version(13))
	if _, err := freezer(x).Lock(t.Context(), x.Path("hosts"), "a reason", time.Now().Add(3*time.Second)); err != nil {
		t.Fatal(err)
	}
	x.Publish("hosts", e2e.Version(14))
	d.Becomes("hosts", outcome.Locked)
	d.Delivers("hosts", e2e.Version(14))
}

// shifted are the arguments of unshare for timers that are a day ahead.
func shifted(command ...string) []string {
	return append([]string{"--time", "--monotonic", "86400", "--boottime", "86400"}, command...)
}
