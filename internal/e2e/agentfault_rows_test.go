//go:build linux

package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
)

// agentAndDeletedKeys is fault 20: a key is deleted and made again. A deletion leaves
// a tombstone, which Consul reaps after a quarter of an hour; how soon, no option of
// 1.22 can say (TombstoneTTL is in none of its configuration files). What a reap does
// to an agent is that indexes may fall: that is "another index each time" of the fake
// answers. Here are real deletions, with many unrelated writes behind them. Taken out:
// the pass over a key that is gone; then it is "current" for ever.
func agentAndDeletedKeys(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	w := newWire(t, x.store.server.Addr)
	x.publish("hosts", version(1))
	x.config("agent", []string{w.addr}, x.to("hosts"))
	d := x.agent("agent")
	d.delivers("hosts", version(1))
	lineage := d.target("hosts").Lineage
	n := 1
	for round := range times(20) {
		for _, history := range []bool{true, false} {
			x.store.removeAll(x.prefix + "/hosts/")
			if !history {
				x.store.removeAll(x.prefix + "/.history/hosts/")
			}
			d.becomes("hosts", agent.Missing)
			x.holds("hosts", version(n))
			from := time.Now()
			for i := range times(1000) {
				x.store.put(fmt.Sprintf("%s/other-%d/%d/data", x.prefix, round, i), "x", 0)
				if i%2 == 0 {
					x.store.remove(fmt.Sprintf("%s/other-%d/%d/data", x.prefix, round, i))
				}
			}
			// Consul answers a watch on a missing key at once if anything at all was
			// written since the last answer; one that waits is not woken by that. To
			// each return belong two reads.
			requests, most := w.requests.since(from), 3*(10+int(time.Since(from)/(250*time.Millisecond)))
			if requests > most {
				t.Errorf("%d writes elsewhere caused %d requests, at most %d are allowed", times(1000), requests, most)
			}
			x.holds("hosts", version(n))
			n++
			x.publish("hosts", version(n))
			d.delivers("hosts", version(n))
			now := d.target("hosts")
			if same := now.Lineage == lineage; same != history {
				t.Errorf("with its history kept: %v, the lineage is the same: %v", history, same)
			}
			lineage = now.Lineage
		}
	}
	if !strings.Contains(d.said(), "made anew") {
		t.Error("a new lineage is followed without a word")
	}
}

// agentAndDeletedPrefix is fault 22: everything is deleted at once. Files stay, with
// their execs' peace, until something is published again. Taken out: that a missing key
// is told from an empty one; then it is "empty", which nobody wrote.
func agentAndDeletedPrefix(t *testing.T, c *cluster) {
	const files = 5
	x := c.site(t, 1)
	key := func(i int) string { return fmt.Sprintf("team/file-%d", i) }
	file := func(i int) string { return fmt.Sprintf("file-%d", i) }
	var targets []fields
	for i := range files {
		x.publish(key(i), version(1))
		targets = append(targets, fields{"key": key(i), "file": x.path(file(i)), "exec": x.script("count", "echo >>"+x.path("count.ran")+"\n")})
	}
	x.config("agent", nil, targets...)
	d := x.agent("agent")
	for i := range files {
		d.delivers(file(i), version(1))
	}
	eventually(t, "the exec ran", func() bool { return x.read("count.ran") != "" })
	ran := x.read("count.ran")
	x.store.removeAll(x.prefix + "/")
	for i := range files {
		s := d.becomes(file(i), agent.Missing)
		if s.Detail == "" {
			t.Error("it does not say why")
		}
		x.holds(file(i), version(1))
	}
	d.stop() // and over a restart
	d = x.agent("agent")
	for i := range files {
		d.becomes(file(i), agent.Missing)
		x.holds(file(i), version(1))
	}
	if now := x.read("count.ran"); now != ran {
		t.Error("an exec ran for a file that did not change")
	}
	for i := range files {
		x.publish(key(i), version(2))
		d.delivers(file(i), version(2))
	}
	// The control: a key that becomes empty in the way of 1.x is what could blank a
	// file, and it is told from a missing one.
	x.store.oldInAt(x.row(key(0), ""), "")
	s := d.becomes(file(0), agent.Refused)
	if s.Reason != "empty" {
		t.Errorf("%+v", s)
	}
	x.holds(file(0), version(2))
}

// removeAll deletes all that is below a path.
func (s *store) removeAll(path string) {
	s.t.Helper()
	if status, answer := s.request("DELETE", "/v1/kv/"+path+"?recurse", nil); status != 200 {
		s.t.Fatalf("DELETE %s: %d %s", path, status, answer)
	}
}

// oldInAt is `in` of 1.x under any prefix.
func (s *store) oldInAt(key, content string) {
	s.t.Helper()
	s.put(key+"data", content, 0)
	s.put(key+"checksum", sum(content), 0)
}

// agentAndClocks is fault 41. What may be off are the publisher's clock, which is in
// its manifests, the clock of whoever locks, and the node's own. A process's own wall
// clock cannot be shifted here without a program that nobody has installed; that of
// its timers can be, by a day, where unshare may. Taken out: that a lock ends by its
// flags, and that an agent waits for that end; both times it stays locked.
func agentAndClocks(t *testing.T, c *cluster) {
	const day = 24 * time.Hour
	x := c.site(t, 2)
	x.publish("hosts", version(1))
	x.config("agent", nil, x.to("hosts"))
	d := x.agent("agent")
	d.delivers("hosts", version(1))
	for i, off := range []time.Duration{day, -day, 10_000 * day, -10_000 * day, 0} {
		p := x.publisher()
		p.Now = func() time.Time { return time.Now().Add(off) }
		content := version(i + 2)
		if _, err := p.Publish(t.Context(), publish.Request{Key: "hosts", Content: []byte(content)}); err != nil {
			t.Fatal(err)
		}
		d.delivers("hosts", content)
		if now := d.target("hosts"); now.Version != uint64(i+2) {
			t.Errorf("version %d is in place, want %d", now.Version, i+2)
		}
	}

	lock := func(until time.Duration) {
		t.Helper()
		if err := x.freezer().Lock(t.Context(), x.path("hosts"), "a reason", time.Now().Add(until)); err != nil {
			t.Fatal(err)
		}
	}
	// To a node whose clock is a day ahead, a lock of an hour looks like this: it is
	// over. Better too early than never.
	lock(-day)
	x.publish("hosts", version(10))
	d.delivers("hosts", version(10))
	// And like this to one that is a day behind: it holds, until somebody lifts it.
	lock(day)
	x.publish("hosts", version(11))
	d.becomes("hosts", agent.Locked)
	x.holds("hosts", version(10))
	if _, err := x.freezer().Unlock(t.Context(), x.path("hosts")); err != nil {
		t.Fatal(err)
	}
	d.delivers("hosts", version(11))
	// With a clock that is right, its end alone lifts it.
	lock(3 * time.Second)
	x.publish("hosts", version(12))
	d.becomes("hosts", agent.Locked)
	d.delivers("hosts", version(12))
	d.kill()

	if err := exec.Command("unshare", shifted("true")...).Run(); err != nil {
		t.Logf("timers are not shifted, unshare: %v", err)
		return
	}
	d = x.agent("agent", append([]string{"unshare"}, shifted()...)...)
	d.delivers("hosts", version(12))
	x.publish("hosts", version(13))
	d.delivers("hosts", version(13))
	lock(3 * time.Second)
	x.publish("hosts", version(14))
	d.becomes("hosts", agent.Locked)
	d.delivers("hosts", version(14))
}

// shifted are the arguments of unshare for timers that are a day ahead.
func shifted(command ...string) []string {
	return append([]string{"--time", "--monotonic", "86400", "--boottime", "86400"}, command...)
}

// agentAndStormOfVersions is fault 42: the last version wins, and the exec runs for a
// few of them at most. Taken out: the limit on how often a watch may return; then it is
// 89 runs for 100 versions in place of 29.
func agentAndStormOfVersions(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	last := times(1000)
	var targets []fields
	kinds := map[string]string{"own": x.hashes("own", "own"), "shared-1": "", "shared-2": ""}
	shared := x.hashes("shared", "shared-1", "shared-2")
	for key, exec := range kinds {
		if exec == "" {
			exec = shared
		}
		x.publish(key, version(0))
		targets = append(targets, x.to(key, fields{"exec": exec}))
	}
	x.config("agent", nil, targets...)
	d := x.agent("agent")
	for key := range kinds {
		d.delivers(key, version(0))
	}
	eventually(t, "the first execs ran", func() bool { return x.read("shared.ran") != "" && x.read("own.ran") != "" })
	own, both := len(x.ran("own", "own")), len(x.ran("shared", "shared-1"))
	from := time.Now()
	for i := range last {
		for key := range kinds {
			if _, err := x.publisher().Publish(t.Context(), publish.Request{Key: kv.Key(key), Content: []byte(version(i + 1))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	took := time.Since(from)
	for key, exec := range map[string]string{"own": "own", "shared-1": "shared", "shared-2": "shared"} {
		d.delivers(key, version(last))
		eventually(t, "the exec runs for the last version", func() bool { return x.ranLast(exec, key, version(last)) })
	}
	own, both = len(x.ran("own", "own"))-own, len(x.ran("shared", "shared-1"))-both
	installs := d.target("own").Counts.Installs
	t.Logf("%d versions of 3 keys in %v: %d installs of one of them, its exec ran %d times, one shared by two %d times", last, took.Round(time.Millisecond), installs, own, both)
	// Ten at once, then four a second. The two that share an exec wait for each other.
	if most := 10 + int(took/(250*time.Millisecond)) + 5; own > most || both > most {
		t.Errorf("the execs ran %d and %d times, at most %d are allowed", own, both, most)
	}
}
