package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/consultest"
	"kvexpress/internal/longpoll"
	"kvexpress/internal/store/local"
)

// pair is a real Consul and our front, with the same rows, under the same policies.
type pair struct {
	t      *testing.T
	consul *consultest.Server
	ours   string // the URL
	acl    *ACL
	node   string
}

func rowsOfPair() []string {
	return []string{"a", "a/", "a/a", "a/b", "a/b/a", "aa", "ab", "b", "b/a", "b/a/b", "bb"}
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, consul: consultest.Start(t, consultest.WithACL(), consultest.WithData()), acl: New(&Tokens{})}
	status, body, err := p.consul.Request(http.MethodGet, "/v1/agent/self", p.consul.ManagementToken, nil)
	var self struct{ Config struct{ NodeName string } }
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &self) != nil {
		t.Fatalf("%d %s %v", status, body, err)
	}
	p.node = self.Config.NodeName
	engine, err := local.Open(local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range rowsOfPair() {
		if status, answer, err := p.consul.Request(http.MethodPut, "/v1/kv/"+key, p.consul.ManagementToken, []byte(key)); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s %v", status, answer, err)
		}
		if _, err := engine.Apply(t.Context(), local.Op{Verb: local.Set, Path: key, Value: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.ours = "http://" + ln.Addr().String()
	server := longpoll.New(0, "")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, ln, consulhttp.New(consulhttp.Options{Engine: engine, ACL: p.acl, NodeName: p.node, Server: server}))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// tokens gives both a token with the policy.
func (p *pair) token(text string) (theirs string) {
	p.t.Helper()
	theirs = p.consul.NewToken(p.t, text)
	block, _ := json.Marshal(theirs)
	src := fmt.Sprintf("token %s {\n name = \"n\"\n%s\n}", block, text)
	if strings.HasPrefix(text, "{") {
		src = fmt.Sprintf(`{"token": {%s: {"name": "n", %s}}`, block, text[1:])
	}
	tokens, err := Parse([]byte(src))
	if err != nil {
		p.t.Fatalf("%v: %s", err, src)
	}
	p.acl.Swap(tokens)
	return theirs
}

type question struct{ method, path, body string }

// questions leave all rows as they are: writes are check-and-sets of no index, or part of a transaction
// that fails.
func questions(key, node string) []question {
	escaped := (&url.URL{Path: "/v1/kv/" + key}).EscapedPath()
	quoted, _ := json.Marshal(key)
	op := func(verb string) string { return fmt.Sprintf(`{"KV":{"Verb":%q,"Key":%s}}`, verb, quoted) }
	const fails = `{"KV":{"Verb":"get","Key":"none"}}`
	all := []question{
		{http.MethodGet, escaped + "?recurse", ""},
		{http.MethodGet, escaped + "?keys", ""},
		{http.MethodPut, "/v1/txn", "[" + op("delete-tree") + "," + fails + "]"},
		{http.MethodPut, "/v1/txn", "[" + op("get-tree") + "]"},
		{http.MethodGet, "/v1/session/list", ""},
		{http.MethodPut, "/v1/session/create", `{"Node":"` + node + `","TTL":"no time"}`},
	}
	if key == "" {
		return all
	}
	return append(all,
		question{http.MethodGet, escaped, ""},
		question{http.MethodPut, escaped + "?cas=18446744073709551615", "x"},
		question{http.MethodDelete, escaped + "?cas=18446744073709551614", ""},
		question{http.MethodPut, "/v1/txn", "[" + op("set") + "," + op("check-session") + "," + op("check-not-exists") + "," + fails + "]"},
		question{http.MethodPut, "/v1/txn", "[" + op("get-or-empty") + "," + op("check-session") + "]"},
	)
}

func (p *pair) same(text, token string, q question) error {
	status, theirs, err := p.consul.Request(q.method, q.path, token, []byte(q.body))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(p.t.Context(), q.method, p.ours+q.path, strings.NewReader(q.body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", token)
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	ours, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != status || plain(ours) != plain(theirs) {
		return fmt.Errorf("with %s\n%s %s %s:\nConsul says %d %s\nwe say      %d %s", text, q.method, q.path, q.body, status, plain(theirs), resp.StatusCode, plain(ours))
	}
	return nil
}

// plain leaves out what differs between two stores: indexes, and who has the token.
func plain(b []byte) string {
	b = regexp.MustCompile(`Index":\d+`).ReplaceAll(b, []byte(`Index":0`))
	return string(regexp.MustCompile(`AccessorID '[^']*'`).ReplaceAll(b, []byte("AccessorID ''")))
}

func TestSameAsConsul(t *testing.T) {
	p := startPair(t)
	for _, text := range []string{
		`# nothing`,
		`key_prefix "" { policy = "write" }`,
		`key_prefix "" { policy = "read" }`,
		`key_prefix "a" { policy = "write" } key "a/b" { policy = "deny" }`,
		`key_prefix "a" { policy = "write" } key "a/b" { policy = "read" }`,
		`key_prefix "a" { policy = "write" } key_prefix "a/b" { policy = "list" }`,
		`key_prefix "a/b" { policy = "write" } key_prefix "a" { policy = "deny" }`,
		`key "a" { policy = "write" }`,
		`key "a" { policy = "list" } key_prefix "a" { policy = "list" }`,
		`key "a" { policy = "read" } key "a" { policy = "deny" } key "b" { policy = "read" } key "b" { policy = "write" }`,
		`key_prefix = { "a" = { policy = "write" } b = { policy = "Read" } }`,
		`{"key_prefix": {"a": {"policy": "write"}}, "key": {"a/b": {"policy": "deny"}}}`,
		`session_prefix "" { policy = "read" }`,
		`session "` + p.node + `" { policy = "write" } session_prefix "" { policy = "deny" }`,
		`session_prefix "` + p.node[:1] + `" { policy = "write" } agent_prefix "" { policy = "read" } operator = "write" node_prefix "" { policy = "read" } service "x" { policy = "write" intentions = "read" }`,
	} {
		token := p.token(text)
		for _, key := range append(rowsOfPair(), "", "c", "a/b/") {
			for _, q := range questions(key, p.node) {
				if err := p.same(text, token, q); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// Any rules, any keys.
func TestSameAsConsulAlways(t *testing.T) {
	p := startPair(t)
	path := rapid.StringMatching(`([ab]{0,2}(/[ab]{0,2}){0,2})?`).Filter(func(s string) bool { return !strings.HasPrefix(s, "/") && !strings.Contains(s, "//") })
	rapid.Check(t, func(rt *rapid.T) {
		asJSON := rapid.Bool().Draw(rt, "JSON")
		var b strings.Builder
		lists := map[string][]string{}
		for range rapid.IntRange(0, 8).Draw(rt, "rules") {
			kind := rapid.SampledFrom([]string{"key", "key_prefix", "key_prefix"}).Draw(rt, "kind")
			name, level := path.Draw(rt, "name"), rapid.SampledFrom([]string{"read", "write", "write", "list", "deny"}).Draw(rt, "level")
			fmt.Fprintf(&b, "%s %q { policy = %q }\n", kind, name, level)
			lists[kind] = append(lists[kind], fmt.Sprintf(`{%q:{"policy":%q}}`, name, level))
		}
		text := b.String()
		if asJSON && len(lists) > 0 {
			var parts []string
			for kind, list := range lists {
				parts = append(parts, fmt.Sprintf("%q:[%s]", kind, strings.Join(list, ",")))
			}
			text = "{" + strings.Join(parts, ",") + "}"
		}
		token := p.token(text)
		for range 4 {
			for _, q := range questions(path.Draw(rt, "key"), p.node) {
				if err := p.same(text, token, q); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
}
