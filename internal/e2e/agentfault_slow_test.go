//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/consultest"
)

// Faults that an agent learns of no sooner than its watch ends, which takes a minute
// and a little. So they all wait at the same time.
func agentFaultsOverAMinute(t *testing.T) {
	c := startCluster(t, consultest.WithACL(), consultest.WithConfig(map[string]any{"acl": map[string]any{"token_ttl": "1s"}}))
	back := storeThatGoesBack(t, c) // the first one: others' tokens and keys would go with it
	revoked := revokedToken(t, c)
	hole := blackHole(t, c)
	slow := slowAnswer(t, c)
	back()
	revoked()
	hole()
	slow()
	rebuiltStore(t, c)
}

// storeThatGoesBack is fault 18: a snapshot is restored under agents that watch. They
// follow, and say so; a target that refuses older versions keeps its file. Taken out:
// the pass over an answer with the index of before, which is what a restore wakes a
// watch with; then it takes a minute.
func storeThatGoesBack(t *testing.T, c *cluster) (rest func()) {
	x := c.site(t, 0)
	var daemons []*daemon
	file := func(i int) string { return fmt.Sprintf("back-%d", i) }
	x.publish("back", version(1))
	for i, s := range c.servers {
		targets := []fields{{"key": "back", "file": x.path(file(i))}}
		if i == 0 {
			targets = append(targets, fields{"key": "back", "file": x.path("refuses"), "refuse_older": true})
		}
		x.config(file(i), []string{s.Addr}, targets...)
		daemons = append(daemons, x.agent(file(i)))
		daemons[i].delivers(file(i), version(1))
	}
	status, snapshot, err := c.servers[0].Request(http.MethodGet, "/v1/snapshot", x.store.token, nil)
	if err != nil || status != http.StatusOK {
		t.Fatalf("take a snapshot: %d %v", status, err)
	}
	for n := 2; n <= 3; n++ {
		x.publish("back", version(n))
		for i, d := range daemons {
			d.delivers(file(i), version(n))
		}
	}
	daemons[0].delivers("refuses", version(3))
	restored := time.Now()
	status, answer, err := c.servers[0].Request(http.MethodPut, "/v1/snapshot", x.store.token, snapshot)
	if err != nil || status != http.StatusOK {
		t.Fatalf("restore a snapshot: %d %s %v", status, answer, err)
	}
	return func() {
		for i, d := range daemons {
			// Not only when its watch is over, which takes a minute.
			within(t, time.Until(restored.Add(45*time.Second)), "the agent follows", func() bool { return x.read(file(i)) == version(1) })
			d.delivers(file(i), version(1))
			if !strings.Contains(d.said(), "the store went back from 3 to 1") {
				t.Error("it follows without a word")
			}
		}
		t.Logf("a restored snapshot is followed at all servers within %v", time.Since(restored).Round(100*time.Millisecond))
		if s := daemons[0].becomes("refuses", agent.Older); !strings.Contains(s.Detail, "went back from version 3 to 1") {
			t.Errorf("%+v", s)
		}
		for n := 2; n <= 4; n++ {
			x.publish("back", version(100+n))
			for i, d := range daemons {
				d.delivers(file(i), version(100+n))
			}
			if n < 3 { // the store has not caught up with what it lost
				x.holds("refuses", version(3))
			}
		}
		daemons[0].delivers("refuses", version(104))
		for _, d := range daemons {
			d.kill()
		}
	}
}

// revokedToken is fault 21: the token is deleted while a watch with it is under way.
func revokedToken(t *testing.T, c *cluster) (rest func()) {
	x := c.site(t, 1)
	server := c.servers[1]
	policy := x.ok("acl", "node", "-p", x.prefix, "-k", "revoked", "--node", "n")
	token := server.NewToken(t, policy)
	x.file("token", token)
	x.publish("revoked", version(1))
	x.configWith("agent", fields{"token_file": x.path("token")}, nil, x.to("revoked", fields{"exec": x.hashes("hash", "revoked")}))
	// The control: the same with a token that stays.
	x.configWith("control", fields{"token_file": x.file("other-token", server.ManagementToken)}, nil, fields{"key": "revoked", "file": x.path("control")})
	d, control := x.agent("agent"), x.agent("control")
	d.delivers("revoked", version(1))
	control.delivers("control", version(1))
	server.RevokeToken(t, token)
	from := time.Now()
	return func() {
		within(t, 2*time.Minute, "the agent is denied", func() bool { return d.target("revoked").State == agent.Denied })
		t.Logf("a revoked token is noticed within %v", time.Since(from).Round(time.Second))
		s := d.target("revoked")
		if s.Detail == "" || s.Counts.Refusals[string(agent.Denied)] == 0 || !d.status().Store.Up {
			t.Errorf("%+v", s)
		}
		x.publish("revoked", version(2))
		control.delivers("control", version(2))
		x.holds("revoked", version(1))
		x.file("token", server.NewToken(t, policy))
		d.signal(syscall.SIGHUP)
		d.delivers("revoked", version(2))
		eventually(t, "the exec runs", func() bool { return x.ranLast("hash", "revoked", version(2)) })
		d.kill()
		control.kill()
	}
}

// rebuiltStore is fault 19: all servers lose their data, and are set up anew at the
// same addresses. Their indexes, and the versions of the key, begin again. Taken out:
// that a watch begins anew after a failure; then it waits for an index far away.
func rebuiltStore(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	var daemons []*daemon
	file := func(i int) string { return fmt.Sprintf("rebuilt-%d", i) }
	for n := 1; n <= 30; n++ {
		x.publish("rebuilt", version(n))
	}
	for i, s := range c.servers {
		x.config(file(i), []string{s.Addr}, fields{"key": "rebuilt", "file": x.path(file(i)), "exec": x.hashes("hash-"+file(i), file(i))})
		daemons = append(daemons, x.agent(file(i)))
		daemons[i].delivers(file(i), version(30))
	}
	before := daemons[0].target(file(0))
	index := x.store.get(x.row("rebuilt", "data")).ModifyIndex
	for _, s := range c.servers {
		s.Kill()
	}
	for _, s := range c.servers {
		if err := os.RemoveAll(filepath.Join(s.Dir, "data")); err != nil {
			t.Fatal(err)
		}
		s.Launch()
	}
	for _, s := range c.servers {
		s.Ready()
	}
	began := time.Now()
	for i, d := range daemons {
		d.becomes(file(i), agent.Missing)
		x.holds(file(i), version(30))
	}
	if v := x.publish("rebuilt", version(31)); v != 1 {
		t.Errorf("version %d in an empty store", v)
	}
	if now := x.store.get(x.row("rebuilt", "data")).ModifyIndex; now >= index {
		t.Errorf("the index goes from %d to %d: this test sees nothing of lower ones", index, now)
	}
	for i, d := range daemons {
		d.delivers(file(i), version(31))
		s := d.target(file(i))
		if s.Version != 1 || s.Lineage == before.Lineage {
			t.Errorf("%+v follows %+v", s, before)
		}
		if !strings.Contains(d.said(), "made anew") {
			t.Error("another lineage is followed without a word")
		}
		eventually(t, "the exec runs", func() bool { return x.ranLast("hash-"+file(i), file(i), version(31)) })
	}
	t.Logf("a rebuilt store is followed within %v", time.Since(began).Round(100*time.Millisecond))
}
