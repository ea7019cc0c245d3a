package store

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// The policies that `kvexpress acl` prints, loaded as they are into a Consul that
// denies by default.

// guarded is a Consul with ACLs. It makes machines of a role.
type guarded struct {
	*e2e.Store
	admin    *e2e.Machine
	newToken func(t testing.TB, rules string) (secret string)
	revoke   func(t testing.TB, secret string)
	// accessors: it knows tokens by their accessors.
	accessors bool
}

func startGuarded(t *testing.T) *guarded {
	t.Helper()
	s, admin := e2e.Start(t, consultest.WithACL())
	return &guarded{Store: s, admin: admin.With("CONSUL_HTTP_TOKEN=" + s.Token), newToken: s.Server.NewToken,
		revoke: s.Server.RevokeToken, accessors: true}
}

// as is a machine whose token has what `kvexpress acl` prints for a role, a key
// and a node. It is given in the environment.
func (g *guarded) as(t *testing.T, role ...string) *e2e.Machine {
	t.Helper()
	return g.holding(t, g.newToken(t, g.admin.Ok(append([]string{"acl"}, role...)...)))
}

func (g *guarded) holding(t *testing.T, token string) *e2e.Machine {
	t.Helper()
	return e2e.NewMachine(t, g.Server.Addr, "CONSUL_HTTP_TOKEN="+token)
}

func publisherPolicy(t *testing.T, g *guarded) {
	m := g.as(t, "publisher", "-k", "hosts")
	m.File("source", e2e.Text("one", 20))
	m.Ok("in", "-k", "hosts", "-f", m.Path("source"))
	m.Ok("stop", "-k", "hosts", "-r", "a reason")
	m.Fails(3, []string{"a reason"}, "in", "-k", "hosts", "-f", m.File("source", e2e.Text("two", 20)))
	m.Ok("in", "--ignore-stop", "-k", "hosts", "-f", m.Path("source"))
	m.Ok("resume", "-k", "hosts")
	for i := range 12 { // past versions are pruned, too
		m.Ok("in", "-k", "hosts", "-f", m.File("source", e2e.Text("more", 21+i)))
	}
	if v := g.Version(); v != 14 {
		t.Errorf("version %d is live, want 14", v)
	}
	m.Ok("in", "-z", "-k", "hosts", "-f", m.File("source", e2e.Noise(380_000, 1))) // its history has a transaction of its own
	// It can roll back, and read past versions.
	m.Ok("rollback", "-k", "hosts", "--to", "14")
	m.Ok("rollback", "-k", "hosts")
	for _, args := range [][]string{{"history"}, {"show", "--version", "14"}, {"diff"}} {
		m.Ok(append(args, "-k", "hosts")...)
	}
	past := &e2e.Store{T: t, Server: g.Server, Token: tokenOf(m)}
	all := past.Keys("kvexpress/.history/hosts/")
	if got := slices.DeleteFunc(all, func(path string) bool { return !strings.HasSuffix(path, "/manifest") }); len(got) != 10 {
		t.Errorf("it sees %d versions in history, want 10", len(got))
	}
	if past.Manifest("kvexpress/.history/hosts/14/manifest").Version != 14 {
		t.Error("it cannot read a past manifest")
	}

	for _, args := range [][]string{
		{"in", "-k", "other", "-f", m.Path("source"), "-z"},
		{"in", "-k", "hosts2", "-f", m.Path("source"), "-z"}, // whose name begins the same
		{"stop", "-k", "hosts2", "-r", "no"},
		{"stop", "-k", "other", "-r", "no"},
		{"resume", "-k", "other"},
		{"lock", "-f", m.Path("x")},
		{"unlock", "-f", m.Path("x")},
	} {
		m.Fails(7, []string{"permission denied", "`kvexpress acl"}, args...)
	}
	if got := g.Keys("kvexpress/other"); len(got) > 0 {
		t.Errorf("it wrote %v", got)
	}
}

func nodePolicy(t *testing.T, g *guarded) {
	g.admin.Ok("in", "-k", "hosts", "-f", g.admin.File("source", e2e.Text("one", 20)))
	g.admin.Ok("in", "-k", "other", "-f", g.admin.Path("source"))
	m := g.as(t, "node", "-k", "hosts", "--node", "web-1")
	m.Ok("out", "-k", "hosts", "-f", m.Path("hosts"), "-e", "true")
	m.Holds("hosts", e2e.Text("one", 20))
	g.admin.Ok("lock", "-f", m.Path("hosts"), "-r", "a reason")
	if got := m.Ok("out", "-k", "hosts", "-f", m.Path("hosts")); !strings.Contains(got, "locked: a reason") {
		t.Errorf("a node does not see its lock: %s", got)
	}
	g.admin.Ok("unlock", "-f", m.Path("hosts"))

	m.File("source", e2e.Text("two", 20))
	for _, args := range [][]string{
		{"in", "-k", "hosts", "-f", m.Path("source")},
		{"stop", "-k", "hosts", "-r", "no"},
		{"lock", "-f", m.Path("hosts")},
		{"out", "-k", "other", "-f", m.Path("other")},
		{"raw", "-k", "kvexpress/other/data", "-f", m.Path("other")},
		{"history", "-k", "hosts"},
		{"history", "-k", "other"},
		{"show", "-k", "other"},
		{"show", "-k", "hosts", "--version", "1"},
		{"diff", "-k", "hosts", "1"},
		{"rollback", "-k", "hosts", "--to", "1"},
	} {
		m.Fails(7, []string{"permission denied", "`kvexpress acl"}, args...)
	}
	m.Holds("other", "")
	if got := g.Value("kvexpress/hosts/data"); got != e2e.Text("one", 20) {
		t.Errorf("the key holds %s", e2e.Brief(got))
	}

	// It reports as itself alone.
	for path, want := range map[string]int{"kvexpress-nodes/web-1": 200, "kvexpress-nodes/web-2": 403,
		"kvexpress-nodes/web-10": 403} {
		status, _, err := g.Server.Request(http.MethodPut, "/v1/kv/"+path, tokenOf(m), []byte("{}"))
		if err != nil || status != want {
			t.Errorf("it writes %s: %d %v, want %d", path, status, err, want)
		}
	}
}

func operatorPolicy(t *testing.T, g *guarded) {
	g.admin.Ok("in", "-k", "hosts", "-f", g.admin.File("source", e2e.Text("one", 20)))
	m := g.as(t, "operator", "-k", "hosts")
	m.Ok("lock", "-f", m.Path("hosts"), "-r", "a reason")
	m.Ok("lock", "-f", m.Path("hosts"), "--node", "web-17", "--force", "-r", "a reason", "--for", "1h")
	g.admin.Ok("lock", "-f", "/etc/motd", "--node", "web-18", "--force", "-r", "a reason")
	if got := m.Want(0, "locks"); strings.Count(got.Stdout, "\n") != 4 || !strings.Contains(got.Stdout, "web-17") ||
		!strings.Contains(got.Stdout, "web-18") || got.Stderr != "" {
		t.Errorf("an operator does not see all locks: %+v", got)
	}
	m.Ok("unlock", "-f", m.Path("hosts"), "--node", "web-17")
	m.Ok("unlock", "-f", m.Path("hosts"))
	m.Ok("unlock", "-f", "/etc/motd", "--node", "web-18")
	if got := m.Want(0, "locks"); strings.Contains(got.Stdout, "hosts") || got.Stderr != "" {
		t.Errorf("without a lock: %+v", got)
	}
	const partial = "cannot read all"
	if got := m.Want(0, "stops"); strings.Contains(got.Stdout, "hosts") || !strings.Contains(got.Stderr, partial) {
		t.Errorf("without a stop: %+v", got)
	}
	m.Ok("stop", "-k", "hosts", "-r", "a reason")
	g.admin.Ok("stop", "-k", "other", "-r", "another reason")
	if got := m.Want(0, "stops"); !strings.Contains(got.Stdout, "hosts  ") || strings.Contains(got.Stdout, "other") ||
		!strings.Contains(got.Stderr, partial) {
		t.Errorf("an operator of one key sees: %+v", got)
	}
	if got := g.admin.Want(0, "stops"); strings.Count(got.Stdout, "\n") != 3 || !strings.Contains(got.Stdout, "another reason") ||
		got.Stderr != "" {
		t.Errorf("who may read all sees: %+v", got)
	}
	m.Ok("resume", "-k", "hosts")
	for _, args := range [][]string{
		{"in", "-k", "hosts", "-f", m.File("source", e2e.Text("two", 20))},
		{"stop", "-k", "other", "-r", "no"},
		{"history", "-k", "other"},
		{"show", "-k", "other"},
	} {
		m.Fails(7, []string{"permission denied", "`kvexpress acl"}, args...)
	}

	// It may read past versions, but not roll back.
	g.admin.Ok("in", "-k", "hosts", "-f", g.admin.File("source", e2e.Text("two", 20)))
	for _, args := range [][]string{{"history"}, {"show", "--version", "1"}, {"diff"}, {"rollback", "--dry-run"}} {
		m.Ok(append(args, "-k", "hosts")...)
	}
	m.Fails(7, []string{"permission denied", "`kvexpress acl publisher -k hosts`"}, "rollback", "-k", "hosts")
	if v := g.Version(); v != 2 {
		t.Errorf("version %d is live, want 2", v)
	}
}

func nestedPublisherPolicy(t *testing.T, g *guarded) {
	m := g.as(t, "publisher", "-k", "team/app/flags")
	m.Ok("in", "-k", "team/app/flags", "-f", m.File("source", e2e.Text("one", 20)))
	m.Ok("in", "-k", "team/app/flags", "-f", m.File("source", e2e.Text("two", 20)))
	m.Fails(7, []string{"permission denied", "`kvexpress acl"}, "in", "-k", "team/app/other", "-f", m.Path("source"))

	above := g.as(t, "publisher", "-k", "team/app")
	above.Fails(1, []string{"team/app/flags", "nested"}, "in", "-k", "team/app", "-f", above.File("source", e2e.Text("one", 20)))
	g.admin.Ok("in", "-k", "web", "-f", g.admin.File("source", e2e.Text("one", 20)))
	below := g.as(t, "publisher", "-k", "web/flags")
	below.Fails(1, []string{`"web"`, "nested"}, "in", "-k", "web/flags", "-f", below.File("source", e2e.Text("one", 20)))
}

// remedy is a part of the message that such a machine gets: the policy that its token lacks, or where
// the token comes from, if the token does not exist any more.
func remedy(machine string) string {
	if strings.HasPrefix(machine, "a revoked") || strings.HasSuffix(machine, "never was") {
		return "--token-file"
	}
	return "`kvexpress acl"
}

// withoutRights: without a right, the file stays as it is, and one line names the policy that is missing.
func withoutRights(t *testing.T, g *guarded) {
	g.admin.Ok("in", "-k", "hosts", "-f", g.admin.File("source", e2e.Text("one", 20)))
	policy := func(rules string) *e2e.Machine { return g.holding(t, g.newToken(t, rules)) }
	revoked := g.as(t, "node", "-k", "hosts")
	revoked.Ok("out", "-k", "hosts", "-f", revoked.Path("hosts"))
	g.revoke(t, tokenOf(revoked))

	const keyOnly = `key_prefix "kvexpress/hosts/" { policy = "read" }`
	const locksOnly = `key_prefix "kvexpress/locks/" { policy = "read" }`
	for name, m := range map[string]*e2e.Machine{
		"no token":                     e2e.NewMachine(t, g.Server.Addr),
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
				m = e2e.NewMachine(t, g.Server.Addr)
				token := g.newToken(t,
					keyOnly+locksOnly+`key "kvexpress/locks/`+e2e.Sum(m.Path("hosts"))+"/"+e2e.Hostname(t)+`" { policy = "deny" }`)
				m = m.With("CONSUL_HTTP_TOKEN=" + token)
			}
			here := &e2e.Machine{T: t, Dir: m.Dir, Env: m.Env}
			here.File("hosts", "kept\n")
			before := e2e.Stat(t, here.Path("hosts"))
			here.Fails(7, []string{"hosts", "permission denied", remedy(name)}, "out", "-k", "hosts", "-f", here.Path("hosts"), "-e",
				"touch ran")
			here.Holds("hosts", "kept\n")
			if after := e2e.Stat(t, here.Path("hosts")); !after.ModTime().Equal(before.ModTime()) {
				t.Error("the file was touched")
			}
			if strings.Contains(e2e.Tree(t, here.Dir, ""), "/ran ") {
				t.Error("the exec ran")
			}
			here.Fails(7, []string{"hosts", "permission denied", remedy(name)}, "in", "-k", "hosts", "-f",
				here.File("source", e2e.Text("two", 20)))
		})
	}
	if got := g.Value("kvexpress/hosts/data"); got != e2e.Text("one", 20) {
		t.Errorf("the key holds %s", e2e.Brief(got))
	}

	// And no list claims to be empty.
	g.admin.Ok("lock", "-f", "/etc/motd", "--node", "web-17", "--force", "-r", "a reason")
	g.admin.Ok("stop", "-k", "hosts", "-r", "a reason")
	anonymous := e2e.NewMachine(t, g.Server.Addr)
	for name, m := range map[string]*e2e.Machine{
		"locks, no token":        anonymous,
		"locks, a revoked token": revoked,
		"locks, all but these":   policy(`key_prefix "kvexpress/" { policy = "read" } key_prefix "kvexpress/locks/" { policy = "deny" }`),
		"locks, some":            policy(`key_prefix "kvexpress/locks/0" { policy = "read" }`),
		"locks, all but one":     policy(locksOnly + `key "kvexpress/locks/` + e2e.Sum("/etc/motd") + `/web-17" { policy = "deny" }`),
		"stops, no token":        anonymous,
		"stops, a revoked token": revoked,
		"stops, the locks alone": policy(locksOnly),
	} {
		list, who, _ := strings.Cut(name, ", ")
		t.Run(name, func(t *testing.T) {
			here := &e2e.Machine{T: t, Dir: m.Dir, Env: m.Env}
			here.Fails(7, []string{"permission denied", remedy(who)}, list)
		})
	}
	hidden := policy(`key_prefix "kvexpress/" { policy = "read" } key "kvexpress/hosts/stop" { policy = "deny" }`)
	if got := hidden.Want(0, "stops"); strings.Contains(got.Stdout, "a reason") || !strings.Contains(got.Stderr, "cannot read") {
		t.Errorf("with a stop that may not be read: %+v", got)
	}
	g.admin.Ok("resume", "-k", "hosts")

	// The control: with both halves, the same node installs.
	m := policy(keyOnly + locksOnly)
	m.Ok("out", "-k", "hosts", "-f", m.Path("hosts"))
	m.Holds("hosts", e2e.Text("one", 20))
}

func tokenOf(m *e2e.Machine) string {
	token := ""
	for _, pair := range m.Env {
		if t, ok := strings.CutPrefix(pair, "CONSUL_HTTP_TOKEN="); ok {
			token = t
		}
	}
	return token
}
