package consulapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
	"kvexpress/internal/testutil/consultest"
)

// pair is a real Consul and our front, with the same rows, under the same policies.
type pair struct {
	t      *testing.T
	consul *consultest.Server
	ours   string // the URL
	acl    *ACL
}

func rowsOfPair() []string {
	return []string{"a", "a/", "a/a", "a/b", "a/b/a", "aa", "ab", "b", "b/a", "b/a/b", "bb"}
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, consul: consultest.Start(t, consultest.WithACL(), consultest.WithData()), acl: NewACL(&Tokens{})}
	engine, err := embedded.Open(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range rowsOfPair() {
		if status, answer, err := p.consul.Request(http.MethodPut, "/v1/kv/"+key, p.consul.ManagementToken,
			[]byte(key)); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s %v", status, answer, err)
		}
		if _, _, err := engine.Txn(t.Context(), []kv.Op{{Verb: kv.Set, Path: key, Value: []byte(key)}}); err != nil {
			t.Fatal(err)
		}
	}
	front := httptest.NewServer(New(Options{Engine: engine, ACL: p.acl}))
	t.Cleanup(front.Close)
	p.ours = front.URL
	return p
}

// token gives both a token with the policy.
func (p *pair) token(text string) (secret string) {
	p.t.Helper()
	secret = p.consul.NewToken(p.t, text)
	tokens, err := ParseTokens([]byte(fmt.Sprintf("token %q {\n name = \"n\"\n%s\n}", secret, text)))
	if err != nil {
		p.t.Fatalf("%v: %s", err, text)
	}
	p.acl.Swap(tokens)
	return secret
}

type rightsQuestion struct{ method, path, body string }

// rightsQuestions leave all rows as they are: writes are check-and-sets of no index, or part of a transaction
// that fails.
func rightsQuestions(key string) []rightsQuestion {
	escaped := (&url.URL{Path: "/v1/kv/" + key}).EscapedPath()
	quoted, _ := json.Marshal(key)
	op := func(verb string) string { return fmt.Sprintf(`{"KV":{"Verb":%q,"Key":%s}}`, verb, quoted) }
	const fails = `{"KV":{"Verb":"check-index","Key":"none","Index":1}}`
	all := []rightsQuestion{
		{http.MethodGet, escaped + "?recurse", ""},
		{http.MethodGet, escaped + "?keys", ""},
		{http.MethodPut, "/v1/txn", "[" + op("get-tree") + "]"},
	}
	if key == "" {
		return all
	}
	return append(all,
		rightsQuestion{http.MethodGet, escaped, ""},
		rightsQuestion{http.MethodPut, escaped + "?cas=18446744073709551615", "x"},
		rightsQuestion{http.MethodDelete, escaped + "?cas=18446744073709551614", ""},
		rightsQuestion{http.MethodPut, "/v1/txn", "[" + op("set") + "," + op("check-index") + "," + op("check-not-exists") + "," + fails +
			"]"},
		rightsQuestion{http.MethodPut, "/v1/txn", "[" + op("get-or-empty") + "]"},
	)
}

func (p *pair) same(text, token string, q rightsQuestion) error {
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
	if resp.StatusCode != status || !slices.Equal(told(ours), told(theirs)) {
		return fmt.Errorf("with %s\n%s %s %s:\nConsul says %d %s\nwe say      %d %s", text, q.method, q.path, q.body, status, theirs,
			resp.StatusCode, ours)
	}
	return nil
}

// told extracts the effect of permissions from an answer: keys, values, failed operations, and whether it is a denial.
func told(b []byte) []string {
	return regexp.MustCompile(`^\["[^{]*|"(Key|Value)":"[^"]*"|"OpIndex":\d+|Permission denied|^(true|false)`).FindAllString(string(b), -1)
}

func TestRulesAsConsul(t *testing.T) {
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
		`key "a" { policy = "read" } key "a" { policy = "deny" } key "b" { policy = "read" } key "b" { policy = "write" }`,
		`key_prefix "a" { policy = "write" } key_prefix b { policy = "Read" }`,
		`session_prefix "" { policy = "read" } agent_prefix "" { policy = "read" } operator = "write" service "x" { policy = "write" intentions = "read" }`,
	} {
		token := p.token(text)
		for _, key := range append(rowsOfPair(), "", "c", "a/b/") {
			for _, q := range rightsQuestions(key) {
				if err := p.same(text, token, q); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// Any rules, any keys.
func TestRulesAnyAsConsul(t *testing.T) {
	p := startPair(t)
	path := rapid.StringMatching(`([ab]{0,2}(/[ab]{0,2}){0,2})?`).Filter(func(s string) bool {
		return !strings.HasPrefix(s, "/") &&
			!strings.Contains(s, "//")
	})
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		for range rapid.IntRange(0, 8).Draw(rt, "rules") {
			kind := rapid.SampledFrom([]string{"key", "key_prefix", "key_prefix"}).Draw(rt, "kind")
			fmt.Fprintf(&b, "%s %q { policy = %q }\n", kind, path.Draw(rt, "name"),
				rapid.SampledFrom([]string{"read", "write", "write", "list", "deny"}).Draw(rt, "level"))
		}
		token := p.token(b.String())
		for range 4 {
			for _, q := range rightsQuestions(path.Draw(rt, "key")) {
				if err := p.same(b.String(), token, q); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
}
