package e2e

import (
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/consultest"
)

// The policies that `kvexpress acl` prints, loaded as they are into a Consul that
// denies by default.

// guarded is a Consul with ACLs, and what makes machines of a role.
type guarded struct {
	*store
	admin    *machine
	newToken func(t testing.TB, rules string) (secret string)
	revoke   func(t testing.TB, secret string)
}

func startGuarded(t *testing.T) *guarded {
	t.Helper()
	s, admin := start(t, consultest.WithACL())
	return &guarded{store: s, admin: admin.with("CONSUL_HTTP_TOKEN=" + s.token), newToken: s.server.NewToken, revoke: s.server.RevokeToken}
}

// as is a machine whose token has what `kvexpress acl` prints for a role, a key
// and a node. It is given in the environment.
func (g *guarded) as(t *testing.T, role ...string) *machine {
	t.Helper()
	return g.holding(t, g.newToken(t, g.admin.ok(append([]string{"acl"}, role...)...)))
}

func (g *guarded) holding(t *testing.T, token string) *machine {
	t.Helper()
	return newMachine(t, g.server.Addr, "CONSUL_HTTP_TOKEN="+token)
}

func TestPublisherPolicy(t *testing.T) {
	t.Parallel()
	publisherPolicy(t, startGuarded(t))
}

func publisherPolicy(t *testing.T, g *guarded) {
	t.Helper()
	m := g.as(t, "publisher", "-k", "hosts")
	m.file("source", text("one", 20))
	m.ok("in", "-k", "hosts", "-f", m.path("source"))
	m.ok("stop", "-k", "hosts", "-r", "a reason")
	m.fails(3, []string{"a reason"}, "in", "-k", "hosts", "-f", m.file("source", text("two", 20)))
	m.ok("in", "--ignore-stop", "-k", "hosts", "-f", m.path("source"))
	m.ok("resume", "-k", "hosts")
	for i := range 12 { // past versions are pruned, too
		m.ok("in", "-k", "hosts", "-f", m.file("source", text("more", 21+i)))
	}
	if v := g.version(); v != 14 {
		t.Errorf("version %d stands, want 14", v)
	}
	m.ok("in", "-z", "-k", "hosts", "-f", m.file("source", noise(380_000, 1))) // its history has a transaction of its own
	// It can go back, and read what was.
	m.ok("rollback", "-k", "hosts", "--to", "14")
	m.ok("rollback", "-k", "hosts")
	for _, args := range [][]string{{"history"}, {"show", "--version", "14"}, {"diff"}} {
		m.ok(append(args, "-k", "hosts")...)
	}
	past := &store{t: t, server: g.server, token: tokenOf(m)}
	if got := past.keys("kvexpress/.history/hosts/"); len(got) != 20 {
		t.Errorf("it sees %d rows of history, want 20", len(got))
	}
	if past.manifest("kvexpress/.history/hosts/14/manifest").Version != 14 {
		t.Error("it cannot read a past manifest")
	}

	for _, args := range [][]string{
		{"in", "-k", "other", "-f", m.path("source"), "-z"},
		{"in", "-k", "hosts2", "-f", m.path("source"), "-z"}, // whose name begins the same
		{"stop", "-k", "hosts2", "-r", "no"},
		{"stop", "-k", "other", "-r", "no"},
		{"resume", "-k", "other"},
		{"lock", "-f", m.path("x")},
		{"unlock", "-f", m.path("x")},
	} {
		m.fails(7, []string{"permission denied", "`kvexpress acl"}, args...)
	}
	if got := g.keys("kvexpress/other"); len(got) > 0 {
		t.Errorf("it wrote %v", got)
	}
}

func TestNodePolicy(t *testing.T) {
	t.Parallel()
	nodePolicy(t, startGuarded(t))
}

func nodePolicy(t *testing.T, g *guarded) {
	t.Helper()
	g.admin.ok("in", "-k", "hosts", "-f", g.admin.file("source", text("one", 20)))
	g.admin.ok("in", "-k", "other", "-f", g.admin.path("source"))
	m := g.as(t, "node", "-k", "hosts", "--node", "web-1")
	m.ok("out", "-k", "hosts", "-f", m.path("hosts"), "-e", "true")
	m.holds("hosts", text("one", 20))
	g.admin.ok("lock", "-f", m.path("hosts"), "-r", "a reason")
	if got := m.ok("out", "-k", "hosts", "-f", m.path("hosts")); !strings.Contains(got, "locked: a reason") {
		t.Errorf("a node does not see its lock: %s", got)
	}
	g.admin.ok("unlock", "-f", m.path("hosts"))

	m.file("source", text("two", 20))
	for _, args := range [][]string{
		{"in", "-k", "hosts", "-f", m.path("source")},
		{"stop", "-k", "hosts", "-r", "no"},
		{"lock", "-f", m.path("hosts")},
		{"out", "-k", "other", "-f", m.path("other")},
		{"raw", "-k", "kvexpress/other/data", "-f", m.path("other")},
		{"history", "-k", "hosts"},
		{"history", "-k", "other"},
		{"show", "-k", "other"},
		{"show", "-k", "hosts", "--version", "1"},
		{"diff", "-k", "hosts", "1"},
		{"rollback", "-k", "hosts", "--to", "1"},
	} {
		m.fails(7, []string{"permission denied", "`kvexpress acl"}, args...)
	}
	m.holds("other", "")
	g.oldReads("hosts", false, text("one", 20))

	// It reports as itself alone.
	for path, want := range map[string]int{"kvexpress-nodes/web-1": 200, "kvexpress-nodes/web-2": 403, "kvexpress-nodes/web-10": 403} {
		status, _, err := g.server.Request(http.MethodPut, "/v1/kv/"+path, tokenOf(m), []byte("{}"))
		if err != nil || status != want {
			t.Errorf("it writes %s: %d %v, want %d", path, status, err, want)
		}
	}
}

func TestOperatorPolicy(t *testing.T) {
	t.Parallel()
	operatorPolicy(t, startGuarded(t))
}

func operatorPolicy(t *testing.T, g *guarded) {
	t.Helper()
	g.admin.ok("in", "-k", "hosts", "-f", g.admin.file("source", text("one", 20)))
	m := g.as(t, "operator", "-k", "hosts")
	m.ok("lock", "-f", m.path("hosts"), "-r", "a reason")
	m.ok("lock", "-f", m.path("hosts"), "--node", "web-17", "-r", "a reason", "--for", "1h")
	g.admin.ok("lock", "-f", "/etc/motd", "--node", "web-18", "-r", "a reason")
	if got := m.want(0, "locks"); strings.Count(got.stdout, "\n") != 4 || !strings.Contains(got.stdout, "web-17") || !strings.Contains(got.stdout, "web-18") || got.stderr != "" {
		t.Errorf("an operator does not see all locks: %+v", got)
	}
	m.ok("unlock", "-f", m.path("hosts"), "--node", "web-17")
	m.ok("unlock", "-f", m.path("hosts"))
	m.ok("unlock", "-f", "/etc/motd", "--node", "web-18")
	if got := m.want(0, "locks"); got.stdout != "no file is locked\n" || got.stderr != "" {
		t.Errorf("without a lock: %+v", got)
	}
	const partial = "kvexpress: this token may not read all keys below kvexpress/; others may be stopped, too\n"
	if got := m.want(0, "stops"); got.stdout != "no key that this token may read is stopped\n" || got.stderr != partial {
		t.Errorf("without a stop: %+v", got)
	}
	m.ok("stop", "-k", "hosts", "-r", "a reason")
	g.admin.ok("stop", "-k", "other", "-r", "another reason")
	if got := m.want(0, "stops"); !strings.Contains(got.stdout, "hosts  a reason") || strings.Contains(got.stdout, "other") || got.stderr != partial {
		t.Errorf("an operator of one key sees: %+v", got)
	}
	if got := g.admin.want(0, "stops"); strings.Count(got.stdout, "\n") != 3 || !strings.Contains(got.stdout, "another reason") || got.stderr != "" {
		t.Errorf("who may read all sees: %+v", got)
	}
	m.ok("resume", "-k", "hosts")
	for _, args := range [][]string{
		{"in", "-k", "hosts", "-f", m.file("source", text("two", 20))},
		{"stop", "-k", "other", "-r", "no"},
		{"history", "-k", "other"},
		{"show", "-k", "other"},
	} {
		m.fails(7, []string{"permission denied", "`kvexpress acl"}, args...)
	}

	// It looks at the past; to go back is to publish.
	g.admin.ok("in", "-k", "hosts", "-f", g.admin.file("source", text("two", 20)))
	for _, args := range [][]string{{"history"}, {"show", "--version", "1"}, {"diff"}, {"rollback", "--dry-run"}} {
		m.ok(append(args, "-k", "hosts")...)
	}
	m.fails(7, []string{"permission denied", "`kvexpress acl publisher -k hosts`"}, "rollback", "-k", "hosts")
	if v := g.version(); v != 2 {
		t.Errorf("version %d stands, want 2", v)
	}
}

func TestNestedPublisherPolicy(t *testing.T) {
	t.Parallel()
	nestedPublisherPolicy(t, startGuarded(t))
}

func nestedPublisherPolicy(t *testing.T, g *guarded) {
	t.Helper()
	m := g.as(t, "publisher", "-k", "team/app/flags")
	m.ok("in", "-k", "team/app/flags", "-f", m.file("source", text("one", 20)))
	m.ok("in", "-k", "team/app/flags", "-f", m.file("source", text("two", 20)))
	m.fails(7, []string{"permission denied", "`kvexpress acl"}, "in", "-k", "team/app/other", "-f", m.path("source"))

	above := g.as(t, "publisher", "-k", "team/app")
	above.fails(1, []string{"team/app/flags", "nested"}, "in", "-k", "team/app", "-f", above.file("source", text("one", 20)))
	g.admin.ok("in", "-k", "web", "-f", g.admin.file("source", text("one", 20)))
	below := g.as(t, "publisher", "-k", "web/flags")
	below.fails(1, []string{`"web"`, "nested"}, "in", "-k", "web/flags", "-f", below.file("source", text("one", 20)))
}

// Whatever a token may not do, the file stays, and one line says what is needed.
func TestWithoutRights(t *testing.T) {
	t.Parallel()
	withoutRights(t, startGuarded(t))
}

// remedy is part of what such a machine is to be told: which policy its token lacks, or
// where its token comes from, if there is no such token any more.
func remedy(machine string) string {
	if strings.HasPrefix(machine, "a revoked") || strings.HasSuffix(machine, "never was") {
		return "the store does not know this token; it has expired, or is another Consul's: look at -t, --token-file"
	}
	return "`kvexpress acl"
}

func withoutRights(t *testing.T, g *guarded) {
	t.Helper()
	g.admin.ok("in", "-k", "hosts", "-f", g.admin.file("source", text("one", 20)))
	policy := func(rules string) *machine { return g.holding(t, g.newToken(t, rules)) }
	revoked := g.as(t, "node", "-k", "hosts")
	revoked.ok("out", "-k", "hosts", "-f", revoked.path("hosts"))
	g.revoke(t, tokenOf(revoked))

	const keyOnly = `key_prefix "kvexpress/hosts/" { policy = "read" }`
	const locksOnly = `key_prefix "kvexpress/locks/" { policy = "read" }`
	for name, m := range map[string]*machine{
		"no token":                     newMachine(t, g.server.Addr),
		"a token without rights":       policy(`key_prefix "elsewhere/" { policy = "write" }`),
		"a token that never was":       g.holding(t, "11111111-2222-3333-4444-555555555555"),
		"a revoked token":              revoked,
		"the key, but not the locks":   policy(keyOnly),
		"the locks, but not the key":   policy(locksOnly),
		"all but the stop":             policy(keyOnly + locksOnly + `key "kvexpress/hosts/stop" { policy = "deny" }`),
		"all but the data":             policy(keyOnly + locksOnly + `key "kvexpress/hosts/data" { policy = "deny" }`),
		"all but the manifest":         policy(keyOnly + locksOnly + `key "kvexpress/hosts/manifest" { policy = "deny" }`),
		"all but the checksum":         policy(keyOnly + locksOnly + `key "kvexpress/hosts/checksum" { policy = "deny" }`),
		"all but the lock of the file": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if m == nil {
				m = newMachine(t, g.server.Addr)
				token := g.newToken(t, keyOnly+locksOnly+`key "`+oldLock(t, m.path("hosts"))+`" { policy = "deny" }`)
				m = m.with("CONSUL_HTTP_TOKEN=" + token)
			}
			here := &machine{t: t, dir: m.dir, env: m.env}
			here.file("hosts", "kept\n")
			before := stat(t, here.path("hosts"))
			here.fails(7, []string{"hosts", "permission denied", remedy(name)}, "out", "-k", "hosts", "-f", here.path("hosts"), "-e", "touch ran")
			here.holds("hosts", "kept\n")
			if after := stat(t, here.path("hosts")); !after.ModTime().Equal(before.ModTime()) {
				t.Error("the file was touched")
			}
			if strings.Contains(tree(t, here.dir, ""), "/ran ") {
				t.Error("the exec ran")
			}
			here.fails(7, []string{"hosts", "permission denied", remedy(name)}, "in", "-k", "hosts", "-f", here.file("source", text("two", 20)))
		})
	}
	g.oldReads("hosts", false, text("one", 20))

	// And no list looks as if there were nothing.
	g.admin.ok("lock", "-f", "/etc/motd", "--node", "web-17", "-r", "a reason")
	g.admin.ok("stop", "-k", "hosts", "-r", "a reason")
	for name, m := range map[string]*machine{
		"no token":               newMachine(t, g.server.Addr),
		"a token without rights": policy(`key_prefix "elsewhere/" { policy = "write" }`),
		"a revoked token":        revoked,
		"all but this":           policy(`key_prefix "kvexpress/" { policy = "read" } key_prefix "kvexpress/locks/" { policy = "deny" }`),
		"some locks":             policy(`key_prefix "kvexpress/locks/0" { policy = "read" }`),
		"all but one":            policy(locksOnly + `key "kvexpress/locks/` + sum("/etc/motd") + `/web-17" { policy = "deny" }`),
	} {
		t.Run("locks, "+name, func(t *testing.T) {
			here := &machine{t: t, dir: m.dir, env: m.env}
			here.fails(7, []string{"permission denied", remedy(name)}, "locks")
		})
	}
	for name, m := range map[string]*machine{
		"no token":               newMachine(t, g.server.Addr),
		"a token without rights": policy(`key_prefix "elsewhere/" { policy = "write" }`),
		"a revoked token":        revoked,
		"the locks alone":        policy(locksOnly),
	} {
		t.Run("stops, "+name, func(t *testing.T) {
			here := &machine{t: t, dir: m.dir, env: m.env}
			here.fails(7, []string{"permission denied", remedy(name)}, "stops")
		})
	}
	hidden := policy(`key_prefix "kvexpress/" { policy = "read" } key "kvexpress/hosts/stop" { policy = "deny" }`)
	if got := hidden.want(0, "stops"); !strings.Contains(got.stdout, "no key that this token may read") || !strings.Contains(got.stderr, "others may be stopped") {
		t.Errorf("with a stop that may not be read: %+v", got)
	}
	g.admin.ok("resume", "-k", "hosts")

	// The control: with both halves, the same node installs.
	m := policy(keyOnly + locksOnly)
	m.ok("out", "-k", "hosts", "-f", m.path("hosts"))
	m.holds("hosts", text("one", 20))
}

func tokenOf(m *machine) string {
	token := ""
	for _, pair := range m.env {
		if t, ok := strings.CutPrefix(pair, "CONSUL_HTTP_TOKEN="); ok {
			token = t
		}
	}
	return token
}
