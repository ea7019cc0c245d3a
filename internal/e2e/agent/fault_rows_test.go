//go:build linux

package agent

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/e2e"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
)

// agentAndDeletedKeys: a key is deleted and made again. A deletion leaves
// a tombstone, which Consul reaps after a quarter of an hour; how soon, no option of
// 1.22 can say (TombstoneTTL is in none of its configuration files). What a reap does
// to an agent is that indexes may fall: that is "another index each time" of the fake
// answers. Here are real deletions, with many unrelated writes behind them. Taken out:
// the pass over a key that is gone; then it is "current" for ever.
func agentAndDeletedKeys(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	w := newWire(t, x.Store.Server.Addr)
	x.Publish("hosts", e2e.Version(1))
	x.Config("agent", []string{w.addr}, x.To("hosts"))
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
			d.Becomes("hosts", agent.Missing)
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
	if !strings.Contains(d.Said(), "made anew") {
		t.Error("a new lineage is followed without a word")
	}
}

// agentAndDeletedPrefix: everything is deleted at once. Files stay, with
// their execs' peace, until something is published again. Taken out: that a missing key
// is told from an empty one; then it is "empty", which nobody wrote.
func agentAndDeletedPrefix(t *testing.T, c *e2e.Cluster) {
	const files = 5
	x := c.Site(t, 1)
	key := func(i int) string { return fmt.Sprintf("team/file-%d", i) }
	file := func(i int) string { return fmt.Sprintf("file-%d", i) }
	var targets []e2e.Fields
	for i := range files {
		x.Publish(key(i), e2e.Version(1))
		targets = append(targets, e2e.Fields{"key": key(i), "file": x.Path(file(i)), "exec": x.Script("count", "echo >>"+x.Path("count.ran")+"\n")})
	}
	x.Config("agent", nil, targets...)
	d := x.Agent("agent")
	for i := range files {
		d.Delivers(file(i), e2e.Version(1))
	}
	e2e.Eventually(t, "the exec ran", func() bool { return x.Read("count.ran") != "" })
	ran := x.Read("count.ran")
	removeAll(x.Store, x.Prefix+"/")
	for i := range files {
		s := d.Becomes(file(i), agent.Missing)
		if s.Detail == "" {
			t.Error("it does not say why")
		}
		x.Holds(file(i), e2e.Version(1))
	}
	d.Stop() // and over a restart
	d = x.Agent("agent")
	for i := range files {
		d.Becomes(file(i), agent.Missing)
		x.Holds(file(i), e2e.Version(1))
	}
	if now := x.Read("count.ran"); now != ran {
		t.Error("an exec ran for a file that did not change")
	}
	for i := range files {
		x.Publish(key(i), e2e.Version(2))
		d.Delivers(file(i), e2e.Version(2))
	}
	// The control: a key that becomes empty in the way of 1.x is what could blank a
	// file, and it is told from a missing one.
	oldInAt(x.Store, x.Row(key(0), ""), "")
	s := d.Becomes(file(0), agent.Refused)
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

// agentAndClocks has clocks that are off. What may be off are the publisher's clock, which is in
// its manifests, the clock of whoever locks, and the node's own. A process's own wall
// clock cannot be shifted here without a program that nobody has installed; that of
// its timers can be, by a day, where unshare may. Taken out: that a lock ends by its
// flags, and that an agent waits for that end; both times it stays locked.
func agentAndClocks(t *testing.T, c *e2e.Cluster) {
	const day = 24 * time.Hour
	x := c.Site(t, 2)
	x.Publish("hosts", e2e.Version(1))
	x.Config("agent", nil, x.To("hosts"))
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

	lock := func(until time.Duration) {
		t.Helper()
		if err := freezer(x).Lock(t.Context(), x.Path("hosts"), "a reason", time.Now().Add(until)); err != nil {
			t.Fatal(err)
		}
	}
	// To a node whose clock is a day ahead, a lock of an hour looks like this: it is
	// over. Better too early than never.
	lock(-day)
	x.Publish("hosts", e2e.Version(10))
	d.Delivers("hosts", e2e.Version(10))
	// And like this to one that is a day behind: it holds, until somebody lifts it.
	lock(day)
	x.Publish("hosts", e2e.Version(11))
	d.Becomes("hosts", agent.Locked)
	x.Holds("hosts", e2e.Version(10))
	if _, err := freezer(x).Unlock(t.Context(), x.Path("hosts")); err != nil {
		t.Fatal(err)
	}
	d.Delivers("hosts", e2e.Version(11))
	// With a clock that is right, its end alone lifts it.
	lock(3 * time.Second)
	x.Publish("hosts", e2e.Version(12))
	d.Becomes("hosts", agent.Locked)
	d.Delivers("hosts", e2e.Version(12))
	d.Kill()

	if err := exec.Command("unshare", shifted("true")...).Run(); err != nil {
		t.Logf("timers are not shifted, unshare: %v", err)
		return
	}
	d = x.Agent("agent", append([]string{"unshare"}, shifted()...)...)
	d.Delivers("hosts", e2e.Version(12))
	x.Publish("hosts", e2e.Version(13))
	d.Delivers("hosts", e2e.Version(13))
	lock(3 * time.Second)
	x.Publish("hosts", e2e.Version(14))
	d.Becomes("hosts", agent.Locked)
	d.Delivers("hosts", e2e.Version(14))
}

// shifted are the arguments of unshare for timers that are a day ahead.
func shifted(command ...string) []string {
	return append([]string{"--time", "--monotonic", "86400", "--boottime", "86400"}, command...)
}

// agentAndStormOfVersions: the last version wins, and the exec runs for a
// few of them at most. Taken out: the limit on how often a watch may return; then it is
// 89 runs for 100 versions in place of 29.
func agentAndStormOfVersions(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	last := e2e.Times(1000)
	var targets []e2e.Fields
	kinds := map[string]string{"own": hashes(x, "own", "own"), "shared-1": "", "shared-2": ""}
	shared := hashes(x, "shared", "shared-1", "shared-2")
	for key, exec := range kinds {
		if exec == "" {
			exec = shared
		}
		x.Publish(key, e2e.Version(0))
		targets = append(targets, x.To(key, e2e.Fields{"exec": exec}))
	}
	x.Config("agent", nil, targets...)
	d := x.Agent("agent")
	for key := range kinds {
		d.Delivers(key, e2e.Version(0))
	}
	e2e.Eventually(t, "the first execs ran", func() bool { return x.Read("shared.ran") != "" && x.Read("own.ran") != "" })
	own, both := len(runsOf(x, "own", "own")), len(runsOf(x, "shared", "shared-1"))
	from := time.Now()
	for i := range last {
		for key := range kinds {
			if _, err := x.Publisher().Publish(t.Context(), publish.Request{Key: kv.Key(key), Content: []byte(e2e.Version(i + 1))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	took := time.Since(from)
	for key, exec := range map[string]string{"own": "own", "shared-1": "shared", "shared-2": "shared"} {
		d.Delivers(key, e2e.Version(last))
		e2e.Eventually(t, "the exec runs for the last version", func() bool { return ranLast(x, exec, key, e2e.Version(last)) })
	}
	own, both = len(runsOf(x, "own", "own"))-own, len(runsOf(x, "shared", "shared-1"))-both
	installs := d.Target("own").Counts.Installs
	t.Logf("%d versions of 3 keys in %v: %d installs of one of them, its exec ran %d times, one shared by two %d times", last, took.Round(time.Millisecond), installs, own, both)
	// Ten at once, then four a second. The two that share an exec wait for each other.
	if most := 10 + int(took/(250*time.Millisecond)) + 5; own > most || both > most {
		t.Errorf("the execs ran %d and %d times, at most %d are allowed", own, both, most)
	}
}
