//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a fleet reports, as it is and as a bad node, a bad clock or a bad moment would
// have it. "Taken out" in the comments tells which guard was taken out by hand, in the
// code under test, to see the test fail.

// fleetStatus is what a test looks at in `kvexpress status --json`.
type fleetStatus struct {
	Version                                             uint64
	Nodes, Arrived, Owed, Behind, Unsound, Silent, Gone int
	Stragglers                                          []struct{ Node, Verdict, State, Detail string }
	Silents                                             []struct{ Node string } `json:"silent_nodes"`
	Unread                                              []struct{ Node, Why string }
	Clocks                                              []struct {
		Node, Who string
		Off       time.Duration `json:"off_ns"`
	}
	Unsure bool `json:"clocks_unsure"`
}

// counts is nodes, arrived, owed, behind, unsound, silent, gone, unread.
func (s fleetStatus) counts() string {
	return fmt.Sprintf("%d: %d %d %d %d, %d %d %d", s.Nodes, s.Arrived, s.Owed, s.Behind, s.Unsound, s.Silent, s.Gone, len(s.Unread))
}

func (m *machine) fleet(args ...string) fleetStatus {
	m.t.Helper()
	return m.fleetOf(0, args...)
}

func (m *machine) fleetOf(code int, args ...string) fleetStatus {
	m.t.Helper()
	r := m.want(code, append([]string{"status", "-k", "hosts", "--json"}, args...)...)
	var s fleetStatus
	if err := json.Unmarshal([]byte(r.stdout), &s); err != nil {
		m.t.Fatalf("status: %v\n%s\n%s", err, r.stdout, r.stderr)
	}
	return s
}

// forge is a receipt as a node could write it that has what stands, changed by change.
func (s *store) forge(node string, sent time.Time, change func(target fields)) string {
	s.t.Helper()
	m := s.manifest("kvexpress/hosts/manifest")
	target := fields{"by": "agent", "key": "hosts", "file": "/etc/hosts", "lineage": m.Lineage, "version": m.Version, "sha256": m.SHA256, "state": "current", "since_ms": 0}
	if change != nil {
		change(target)
	}
	b, err := json.Marshal(fields{"format": 1, "node": node, "sent": sent, "agent": fields{"version": "2", "every_s": 300, "age_ms": 0}, "targets": []fields{target}})
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// dated writes the time of the publish over, by another clock.
func (s *store) dated(at time.Time) {
	s.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(s.value("kvexpress/hosts/manifest")), &m); err != nil {
		s.t.Fatal(err)
	}
	m["published_at"] = at
	b, err := json.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put("kvexpress/hosts/manifest", string(b), 0)
}

// reporters are agents of one machine, each with a file and a name of its own.
func (m *machine) reporters(n int) []*daemon {
	m.t.Helper()
	var all []*daemon
	for i := range n {
		name := fmt.Sprint("web-", i)
		m.configure(name, fields{"node": name, "reconcile": "10s"}, fields{"key": "hosts", "file": m.path(name + ".hosts")})
		all = append(all, m.agent(name))
	}
	return all
}

// Lies are told from what is: taken out: each of the checks of package fleet.
func TestReceiptsThatLie(t *testing.T) {
	t.Parallel()
	s, m := start(t)
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
	m.reporters(2)
	m.ok("status", "-k", "hosts", "--wait", "100%")
	// The control: a receipt that is true counts.
	s.put("kvexpress-nodes/web-5", s.forge("web-5", time.Now(), nil), 0)
	if got := m.fleet().counts(); got != "3: 3 0 0 0, 0 0 0" {
		t.Fatalf("three that are true: %s", got)
	}
	s.remove("kvexpress-nodes/web-5")

	lies := map[string]struct {
		value  string
		counts string
		says   string
	}{
		"another node's name":    {s.forge("web-0", time.Now(), nil), "2: 2 0 0 0, 0 0 1", "web-0"},
		"a version that is none": {s.forge("web-5", time.Now(), func(t fields) { t["version"] = 99 }), "3: 2 0 0 1, 0 0 0", "the newest is 1"},
		"other bytes":            {s.forge("web-5", time.Now(), func(t fields) { t["sha256"] = sum("other") }), "3: 2 0 0 1, 0 0 0", "other bytes"},
		"no bytes":               {s.forge("web-5", time.Now(), func(t fields) { t["sha256"] = "" }), "3: 2 0 0 1, 0 0 0", "other bytes"},
		"another life":           {s.forge("web-5", time.Now(), func(t fields) { t["lineage"] = "x" }), "3: 2 0 1 0, 0 0 0", ""},
		"512 KiB":                {strings.Repeat("x", 512<<10), "2: 2 0 0 0, 0 0 1", "bytes"},
		"not JSON":               {"<html>\x1b[31m", "2: 2 0 0 0, 0 0 1", "invalid"},
		"nothing":                {"", "2: 2 0 0 0, 0 0 1", "JSON"},
		"a later format":         {`{"format":2}`, "2: 2 0 0 0, 0 0 1", "newer"},
		"an age that is none":    {strings.Replace(s.forge("web-5", time.Now(), nil), `"age_ms":0`, `"age_ms":-1`, 1), "2: 2 0 0 0, 0 0 1", "no length"},
		"a key that is hostile":  {s.forge("web-5", time.Now(), func(t fields) { t["key"] = "../\x1b[31mhosts" }), "2: 2 0 0 0, 0 0 0", ""},
	}
	for name, lie := range lies {
		s.put("kvexpress-nodes/web-5", lie.value, 0)
		got := m.fleet()
		if got.counts() != lie.counts {
			t.Errorf("%s: %s, want %s", name, got.counts(), lie.counts)
		}
		if !strings.Contains(fmt.Sprint(got.Stragglers, got.Unread), lie.says) {
			t.Errorf("%s: %+v %+v", name, got.Stragglers, got.Unread)
		}
		for _, args := range [][]string{{"status"}, {"status", "-k", "hosts"}} {
			if out := m.ok(args...); strings.Contains(out, "\x1b") {
				t.Errorf("%s: it reaches the terminal: %q", name, out)
			}
		}
		wait := m.run("status", "-k", "hosts", "--wait", "100%", "--timeout", "1s")
		if reached := lie.counts[0] == lie.counts[3]; reached != (wait.code == 0) || !reached && wait.code != 9 {
			t.Errorf("%s: --wait ends with %d: %s", name, wait.code, wait.stderr)
		}
	}
	// One that is late brings back what was, until the node reports again.
	late := s.value("kvexpress-nodes/web-0")
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("two", 20)))
	s.remove("kvexpress-nodes/web-5")
	m.ok("status", "-k", "hosts", "--wait", "100%")
	s.put("kvexpress-nodes/web-0", late, s.get("kvexpress-nodes/web-0").Flags)
	if got := m.fleet(); got.counts() != "2: 1 0 1 0, 0 0 0" {
		t.Errorf("a late receipt: %s", got.counts())
	}
	m.ok("status", "-k", "hosts", "--wait", "100%") // with its next one
}

// A day off, whosever clock: it is named and not used, and nobody is left out.
func TestReceiptsByWrongClocks(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	s, m := start(t)
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
	m.reporters(3)
	m.ok("status", "-k", "hosts", "--wait", "100%")
	behind := func(t fields) { t["version"], t["sha256"] = 0, sum("old") }
	for _, off := range []time.Duration{day, -day} {
		s.dated(time.Now())
		s.put("kvexpress-nodes/web-8", s.forge("web-8", time.Now().Add(off), behind), 0)
		// Who reports after it shows what it is.
		after := s.get("kvexpress-nodes/web-8").ModifyIndex
		eventually(t, "all others report again", func() bool {
			for i := range 3 {
				if s.get(fmt.Sprint("kvexpress-nodes/web-", i)).ModifyIndex < after {
					return false
				}
			}
			return true
		})
		got := m.fleet()
		if got.counts() != "4: 3 0 1 0, 0 0 0" {
			t.Errorf("a node off by %s: %s, %+v", off, got.counts(), got)
		}
		if len(got.Clocks) != 1 || got.Clocks[0].Node != "web-8" || (got.Clocks[0].Off-off).Abs() > time.Minute {
			t.Errorf("a node off by %s: %+v, unsure %t", off, got.Clocks, got.Unsure)
		}
		s.remove("kvexpress-nodes/web-8")

		s.dated(time.Now().Add(off))
		before := s.get("kvexpress/hosts/manifest").ModifyIndex
		eventually(t, "all report again", func() bool {
			for i := range 3 {
				if s.get(fmt.Sprint("kvexpress-nodes/web-", i)).ModifyIndex < before {
					return false
				}
			}
			return true
		})
		s.put("kvexpress-nodes/web-8", s.forge("web-8", time.Now(), behind), 0)
		got = m.fleet()
		if got.counts() != "4: 3 0 1 0, 0 0 0" {
			t.Errorf("the publisher off by %s: %s, %+v", off, got.counts(), got)
		}
		if named := len(got.Clocks) == 1 && got.Clocks[0].Who == "publisher"; off > 0 && !named {
			t.Errorf("the publisher off by %s: %+v", off, got.Clocks)
		}
		if r := m.run("status", "-k", "hosts", "--wait", "100%", "--timeout", "2s"); r.code != 9 {
			t.Errorf("the publisher off by %s: --wait ends with %d", off, r.code)
		}
		s.remove("kvexpress-nodes/web-8")
	}
}

// An agent that got kill -9 reports no more, and after what it promised, twice, it does
// not count. Taken out: that it is silent then.
func TestKilledAgentBecomesSilent(t *testing.T) {
	t.Parallel()
	_, m := start(t)
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("one", 20)))
	all := m.reporters(3)
	m.ok("status", "-k", "hosts", "--wait", "100%")
	all[0].kill()
	m.ok("in", "-k", "hosts", "-f", m.file("source", text("two", 20)))
	m.want(9, "status", "-k", "hosts", "--wait", "100%", "--timeout", "3s")
	if got := m.fleet(); got.counts() != "3: 2 0 1 0, 0 0 0" {
		t.Errorf("just killed: %s", got.counts())
	}
	took := within(t, 2*time.Minute, "it is silent", func() bool { return m.fleet().Silent == 1 })
	if took < 30*time.Second {
		t.Errorf("silent after %s", took)
	}
	got := m.fleet()
	if got.counts() != "2: 2 0 0 0, 1 0 0" || got.Silents[0].Node != "web-0" {
		t.Errorf("%s, %+v", got.counts(), got)
	}
	m.ok("status", "-k", "hosts", "--wait", "100%")
	m.agent("web-0")
	m.ok("status", "-k", "hosts", "--wait", "100%")
	eventually(t, "it counts again", func() bool { return m.fleet().counts() == "3: 3 0 0 0, 0 0 0" })
}

// By the policies that are printed, a node writes its own receipt and no other; without
// the right it delivers all the same; and who may not see receipts is never told that
// there are none.
func TestReceiptRights(t *testing.T) {
	t.Parallel()
	g := startGuarded(t)
	g.admin.ok("in", "-k", "hosts", "-f", g.admin.file("source", text("one", 20)))
	node := g.as(t, "node", "-k", "hosts", "--node", "web-1")
	node.configure("web-1", fields{"node": "web-1", "reconcile": "10s"}, fields{"key": "hosts", "file": node.path("hosts")})
	node.agent("web-1").delivers("hosts", text("one", 20))
	g.admin.ok("status", "-k", "hosts", "--wait", "100%")
	for path, want := range map[string]int{"web-1": http.StatusOK, "web-2": http.StatusForbidden, "web-11": http.StatusForbidden} {
		if status, _, err := g.server.Request(http.MethodPut, "/v1/kv/kvexpress-nodes/"+path, tokenOf(node), []byte("{}")); err != nil || status != want {
			t.Errorf("it writes the receipt of %s: %d %v", path, status, err)
		}
	}
	// Under another name it may not report, and says so, once.
	node.configure("other", fields{"node": "web-2", "reconcile": "10s"}, fields{"key": "hosts", "file": node.path("others")})
	other := node.agent("other")
	other.delivers("others", text("one", 20))
	eventually(t, "it logs that", func() bool { return strings.Contains(other.said(), "the receipt was not written") })
	g.admin.ok("in", "-k", "hosts", "-f", g.admin.file("source", text("two", 20)))
	other.delivers("others", text("two", 20))
	g.admin.ok("status", "-k", "hosts", "--wait", "100%")
	if n := strings.Count(other.said(), "the receipt was not written"); n != 1 || !strings.Contains(other.said(), "kvexpress acl node") {
		t.Errorf("it says so %d times", n)
	}
	if got := g.keys("kvexpress-nodes/"); len(got) != 1 {
		t.Errorf("there are %v", got)
	}

	const key = `key_prefix "kvexpress/" { policy = "read" }`
	for name, m := range map[string]*machine{
		"a node":             node,
		"the key alone":      g.holding(t, g.server.NewToken(t, key)),
		"one receipt":        g.holding(t, g.server.NewToken(t, key+`key "kvexpress-nodes/web-1" { policy = "read" }`)),
		"no token":           newMachine(t, g.server.Addr),
		"no receipts at all": g.holding(t, g.server.NewToken(t, key+`key_prefix "kvexpress-nodes/" { policy = "deny" }`)),
	} {
		for _, args := range [][]string{{"status"}, {"status", "-k", "hosts"}, {"status", "-k", "hosts", "--wait", "100%", "--timeout", "5s"}} {
			r := m.run(args...)
			if r.code != 7 || !strings.Contains(r.stderr, "permission denied") || strings.Contains(r.stdout, "no node") {
				t.Errorf("%s: %v: exit %d\n%s%s", name, args, r.code, r.stdout, r.stderr)
			}
		}
	}
	// Nobody has said it to a token that Consul takes for anonymous.
	g.anonymous(key + `key "kvexpress-nodes/web-1" { policy = "read" }`)
	g.put("kvexpress-nodes/web-9", g.forge("web-9", time.Now(), func(t fields) { t["version"] = 1 }), 0)
	bare := newMachine(t, g.server.Addr)
	eventually(t, "the policy is in force", func() bool {
		status, _, err := g.server.Request(http.MethodGet, "/v1/kv/kvexpress-nodes/web-1", "", nil)
		return err == nil && status == http.StatusOK
	})
	bare.fails(7, []string{"permission denied"}, "status", "-k", "hosts")
	g.admin.ok("status", "-k", "hosts")
}

// anonymous gives rights to who has no token.
func (g *guarded) anonymous(rules string) {
	g.t.Helper()
	for _, request := range []struct{ path, body string }{
		{"/v1/acl/policy", fmt.Sprintf(`{"Name":"anonymous","Rules":%q}`, rules)},
		{"/v1/acl/token/00000000-0000-0000-0000-000000000002", `{"Policies":[{"Name":"anonymous"}]}`},
	} {
		if status, answer := g.request(http.MethodPut, request.path, []byte(request.body)); status != http.StatusOK {
			g.t.Fatalf("PUT %s: %d %s", request.path, status, answer)
		}
	}
}

// The leader dies while somebody waits: in the end it is told rightly, or that it is
// unknown; it is never 100 % of what has not arrived.
func TestWaitWhileLeadersDie(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	x := c.site(t, 0)
	a := c.author(x, "hosts")
	content := a.must()
	var daemons []*daemon
	var addrs []string
	for _, s := range c.servers {
		addrs = append(addrs, s.Addr)
	}
	for i := range c.servers {
		name := fmt.Sprint("web-", i)
		x.configWith(name, fields{"reconcile": "10s"}, slices.Concat(addrs[i:], addrs[:i]), fields{"key": "hosts", "file": x.path(name)})
		daemons = append(daemons, x.agent(name))
		daemons[i].delivers(name, content)
	}
	status := func(server int, args ...string) result {
		return x.with("CONSUL_HTTP_ADDR=" + c.servers[server].Addr).run(append([]string{"status", "-p", x.prefix, "-k", "hosts", "--json"}, args...)...)
	}
	eventually(t, "all report", func() bool { return status(0, "--wait", "100%", "--timeout", "1s").code == 0 })

	for round := range times(30) {
		leader := c.leader(0)
		other := c.others(leader)[0]
		held := round%2 == 0 // one does not get it
		if held {
			daemons[0].kill()
		}
		a.must()
		done := make(chan result, 1)
		go func() { done <- status(other, "--wait", "100%", "--timeout", "20s") }()
		pause(200 * time.Millisecond)
		c.servers[leader].Kill()
		r := <-done
		var s fleetStatus
		_ = json.Unmarshal([]byte(r.stdout), &s) // there may be none
		t.Logf("round %d: exit %d, %s, %s", round, r.code, s.counts(), strings.TrimSpace(r.stderr))
		switch {
		case r.code == 7 && strings.Contains(r.stderr, "unknown"):
		case r.code == 0 && !held && s.Arrived == 3 && s.Nodes == 3:
		case r.code == 9 && s.Arrived < s.Nodes:
		default:
			t.Errorf("round %d, one held back %t: exit %d, %s\n%s", round, held, r.code, s.counts(), r.stderr)
		}
		c.servers[leader].Restart()
		if held {
			daemons[0] = x.agent("web-0")
		}
		eventually(t, "all have it in the end", func() bool { return status(other, "--wait", "100%", "--timeout", "5s").code == 0 })
	}
	// Without any server, it is unknown.
	for _, s := range c.servers {
		s.Kill()
	}
	if r := status(0, "--wait", "100%", "--timeout", "2s"); r.code != 7 || !strings.Contains(r.stderr, "unknown") {
		t.Errorf("without a store: exit %d, %s", r.code, r.stderr)
	}
}
