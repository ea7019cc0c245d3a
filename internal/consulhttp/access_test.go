package consulhttp_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/consultest"
)

// policies are those of the tests below: what each token may do, by its secret.
type policies map[string]*policy

func (p policies) DefaultPolicy() string { return "deny" }

func (p policies) Resolve(token string) (consulhttp.Authorizer, error) {
	if token == "" {
		return &policy{}, nil
	}
	if found := p[token]; found != nil {
		return found, nil
	}
	return nil, consulhttp.ErrUnknownToken
}

// policy lets everything be read or written below its prefixes; the longest one counts.
type policy struct {
	accessor string
	rules    map[string]string // prefix: "read", "write" or "deny"
	sessions string
	agent    bool
}

func (p *policy) at(key string) string {
	best, rule := -1, "deny"
	for prefix, r := range p.rules {
		if strings.HasPrefix(key, prefix) && len(prefix) > best {
			best, rule = len(prefix), r
		}
	}
	return rule
}

func (p *policy) AccessorID() string       { return p.accessor }
func (p *policy) KeyRead(key string) bool  { return p.at(key) != "deny" }
func (p *policy) KeyWrite(key string) bool { return p.at(key) == "write" }
func (p *policy) SessionRead(string) bool  { return p.sessions != "" }
func (p *policy) SessionWrite(string) bool { return p.sessions == "write" }
func (p *policy) AgentRead(string) bool    { return p.agent }
func (p *policy) KeyWritePrefix(prefix string) bool {
	for below, rule := range p.rules {
		if strings.HasPrefix(below, prefix) && rule != "write" {
			return false
		}
	}
	return p.at(prefix) == "write"
}

func TestSameAsConsulACL(t *testing.T) {
	tokens := policies{}
	consul, ours, server := both(t, consulhttp.Options{ACL: tokens}, consultest.WithACL())
	tokens[server.ManagementToken] = &policy{accessor: "root", rules: map[string]string{"": "write"}, sessions: "write", agent: true}
	app := server.NewToken(t, `key_prefix "app/" { policy = "write" } key_prefix "app/secret" { policy = "deny" } key_prefix "ro" { policy = "read" } session_prefix "" { policy = "read" }`)
	_, body, err := server.Request(http.MethodGet, "/v1/acl/token/self", app, nil)
	if err != nil {
		t.Fatal(err)
	}
	accessor := sessionID.FindString(string(body[strings.Index(string(body), "AccessorID"):]))
	tokens[app] = &policy{accessor: accessor, rules: map[string]string{"app/": "write", "app/secret": "deny", "ro": "read"}, sessions: "read"}

	var steps []step
	root := func(st step) { steps = append(steps, st.with("X-Consul-Token", server.ManagementToken)) }
	for _, st := range first() {
		root(st)
	}
	for _, key := range []string{"app/1", "app/secret/x", "other", "ro"} {
		root(put("/v1/kv/"+key, "v"))
	}
	root(get("/v1/kv/other").as("other"))
	root(put("/v1/session/create", "").as("s"))
	big := "[" + strings.Repeat(`{"KV":{"Verb":"get","Key":"other"}},`, 20) + `{"KV":{"Verb":"get","Key":"app/1"}}]`
	for _, st := range []step{
		get("/v1/kv/other"), get("/v1/kv/app/1"), get("/v1/kv/app/secret/x"), get("/v1/kv/app/none"), get("/v1/kv/none"), get("/v1/kv/other?raw"), get("/v1/kv/other?index={index:other}&wait=10ms"), get("/v1/kv/<&>"),
		get("/v1/kv/?recurse"), get("/v1/kv/app/?recurse"), get("/v1/kv/oth?recurse"), get("/v1/kv/none?recurse"), get("/v1/kv/?keys"), get("/v1/kv/oth?keys"), get("/v1/kv/app?keys&separator=/"), get("/v1/kv/none?keys"),
		put("/v1/kv/other", "1"), put("/v1/kv/ro", "1"), put("/v1/kv/app/2", "1"), put("/v1/kv/other?cas=1", "1"), put("/v1/kv/other?acquire=x", "1"), put("/v1/kv/other?flags=x", "1"),
		del("/v1/kv/other"), del("/v1/kv/app/secret/x"), del("/v1/kv/app/?recurse"), del("/v1/kv/?recurse"), del("/v1/kv/app/2"),
		txn(`[{"KV":{"Verb":"get","Key":"other"}},{"KV":{"Verb":"get","Key":"app/1"}},{"KV":{"Verb":"get-tree","Key":"app"}},{"KV":{"Verb":"get-or-empty","Key":"none"}}]`), txn(`[{"KV":{"Verb":"get","Key":"app/1"}}]`), txn(`[{"KV":{"Verb":"get","Key":"none"}}]`), txn(`[{"KV":{"Verb":"get-tree","Key":"oth"}}]`), txn(big),
		txn(`[{"KV":{"Verb":"set","Key":"other"}},{"KV":{"Verb":"check-index","Key":"other","Index":1}},{"KV":{"Verb":"delete-tree","Key":"app/"}},{"KV":{"Verb":"check-not-exists","Key":"ro2"}},{"KV":{"Verb":"check-session","Key":"other"}},{"KV":{"Verb":"zap","Key":"other"}},{"KV":{"Verb":"set","Key":""}}]`),
		txn(`[{"KV":{"Verb":"check-index","Key":"ro","Index":1}}]`), txn(`[{"KV":{"Verb":"check-not-exists","Key":"other"}}]`), txn(`[{"KV":{"Verb":"set","Key":"app/2"}},{"KV":{"Verb":"get","Key":"other"}}]`), txn(`[]`), put("/v1/txn?pretty", `[{"KV":{"Verb":"set","Key":"other"}}]`),
		put("/v1/session/create", ""), put("/v1/session/create", `{"Node":"x"}`), put("/v1/session/create", `{"TTL":"x"}`), get("/v1/session/list"), get("/v1/session/info/{session:s}"), get("/v1/session/info/none"), get("/v1/session/node/x"),
		put("/v1/session/renew/{session:s}", ""), put("/v1/session/destroy/{session:s}", ""), put("/v1/session/renew/none", ""), put("/v1/session/destroy/none", ""),
		get("/v1/status/leader"), get("/v1/kv/?keys&dc=other"), get("/v1/session/list?dc=other"), put("/v1/kv/", ""), get("/v1/kv/a?index=x"),
	} {
		steps = append(steps, st, st.with("X-Consul-Token", app), st.with("X-Consul-Token", "unknown"))
	}
	for _, header := range []string{"Bearer " + app, "bearer  " + app, "Bearer " + app + " x", "Basic " + app, "Bearer", app, "Bearer unknown"} {
		steps = append(steps, get("/v1/kv/app/1").with("Authorization", header))
	}
	steps = append(steps, get("/v1/kv/app/1?token="+app), get("/v1/kv/app/1?token=").with("X-Consul-Token", app), get("/v1/kv/app/1?token=unknown").with("X-Consul-Token", app),
		get("/v1/kv/app/1").with("X-Consul-Token", "unknown").with("Authorization", "Bearer "+app))
	compare(t, consul, ours, steps)

	for token, want := range map[string]int{"": 403, app: 403, "unknown": 403, server.ManagementToken: 200} {
		a, errA := consul.do(t.Context(), get("/v1/agent/self").with("X-Consul-Token", token))
		b, errB := ours.do(t.Context(), get("/v1/agent/self").with("X-Consul-Token", token))
		if errors.Join(errA, errB) != nil || a.status != want || b.status != want || want != 200 && a.body != b.body {
			t.Errorf("agent/self: %d %q, Consul has %d %q", b.status, b.body, a.status, a.body)
		}
	}
}
