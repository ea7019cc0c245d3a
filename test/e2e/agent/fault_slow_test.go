//go:build linux

package agent

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	revoked := revokedToken(t, c)
	hole := blackHole(t, c)
	back()
	revoked()
	hole()
	rebuiltStore(t, c)
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

// revokedToken: the token is deleted while a watch with it is under way.
func revokedToken(t *testing.T, c *e2e.Cluster) (rest func()) {
	x := c.Site(t, 1)
	server := c.Servers[1]
	policy := x.Ok("acl", "node", "-p", x.Prefix, "-k", "revoked", "--node", "n")
	token := server.NewToken(t, policy)
	x.File("token", token)
	x.Publish("revoked", e2e.Version(1))
	x.ConfigWith("agent", e2e.Fields{"token_file": x.Path("token")}, nil,
		to(x, "revoked", e2e.Fields{"exec": hashes(x, "hash", "revoked")}))
	// The control: the same with a token that stays.
	x.ConfigWith("control", e2e.Fields{"token_file": x.File("other-token", server.ManagementToken)}, nil,
		e2e.Fields{"key": "revoked", "file": x.Path("control")})
	d, control := x.Agent("agent"), x.Agent("control")
	d.Delivers("revoked", e2e.Version(1))
	control.Delivers("control", e2e.Version(1))
	server.RevokeToken(t, token)
	from := time.Now()
	return func() {
		e2e.Within(t, 2*time.Minute, "the agent is denied", func() bool { return d.Target("revoked").Outcome == outcome.Denied })
		t.Logf("a revoked token is noticed within %v", time.Since(from).Round(time.Second))
		s := d.Target("revoked")
		if s.Detail == "" || s.Counts.Refusals[string(outcome.Denied)] == 0 || !d.Status().Store.Up {
			t.Errorf("%+v", s)
		}
		x.Publish("revoked", e2e.Version(2))
		control.Delivers("control", e2e.Version(2))
		x.Holds("revoked", e2e.Version(1))
		x.File("token", server.NewToken(t, policy))
		d.Signal(syscall.SIGHUP)
		d.Delivers("revoked", e2e.Version(2))
		e2e.Eventually(t, "the exec runs", func() bool { return ranLast(x, "hash", "revoked", e2e.Version(2)) })
		d.Kill()
		control.Kill()
	}
}

// rebuiltStore: all servers lose their data, and are set up anew at the
// same addresses. Their indexes, and the versions of the key, begin again. If
// a watch did not start without an index after a failure, it would wait for an index far ahead.
func rebuiltStore(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	var daemons []*e2e.Daemon
	file := func(i int) string { return fmt.Sprintf("rebuilt-%d", i) }
	for n := 1; n <= 30; n++ {
		x.Publish("rebuilt", e2e.Version(n))
	}
	for i, s := range c.Servers {
		agentConfig(x, file(i), []string{s.Addr},
			e2e.Fields{"key": "rebuilt", "file": x.Path(file(i)), "exec": hashes(x, "hash-"+file(i), file(i))})
		daemons = append(daemons, x.Agent(file(i)))
		daemons[i].Delivers(file(i), e2e.Version(30))
	}
	before := daemons[0].Target(file(0))
	index := x.Store.Get(x.Row("rebuilt", "data")).ModifyIndex
	for _, s := range c.Servers {
		s.Kill()
	}
	for _, s := range c.Servers {
		if err := os.RemoveAll(filepath.Join(s.Dir, "data")); err != nil {
			t.Fatal(err)
		}
		s.Launch()
	}
	for _, s := range c.Servers {
		s.Ready()
	}
	began := time.Now()
	for i, d := range daemons {
		d.Becomes(file(i), outcome.Missing)
		x.Holds(file(i), e2e.Version(30))
	}
	if v := x.Publish("rebuilt", e2e.Version(31)); v != 1 {
		t.Errorf("version %d in an empty store", v)
	}
	if now := x.Store.Get(x.Row("rebuilt", "data")).ModifyIndex; now >= index {
		t.Errorf("the index goes from %d to %d: this test sees nothing of lower ones", index, now)
	}
	for i, d := range daemons {
		d.Delivers(file(i), e2e.Version(31))
		s := d.Target(file(i))
		if s.Version != 1 || s.Lineage == before.Lineage {
			t.Errorf("%+v follows %+v", s, before)
		}
		if !strings.Contains(d.Said(), "deleted and created again") {
			t.Error("another lineage is followed without a word")
		}
		e2e.Eventually(t, "the exec runs", func() bool { return ranLast(x, "hash-"+file(i), file(i), e2e.Version(31)) })
	}
	t.Logf("a rebuilt store is followed within %v", time.Since(began).Round(100*time.Millisecond))
}
