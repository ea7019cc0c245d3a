package consulhttp_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"kvexpress/internal/consulhttp"
	"kvexpress/internal/consultest"
)

// both starts a real Consul and a handler that has its names.
func both(t *testing.T, o consulhttp.Options, opts ...consultest.Option) (consul, ours *side, server *consultest.Server) {
	t.Helper()
	server = consultest.Start(t, append(opts, consultest.WithData())...)
	for path, into := range map[string]any{"/v1/status/leader": &o.Address} {
		code, body, err := server.Request(http.MethodGet, path, "", nil)
		if err != nil || code != http.StatusOK || json.Unmarshal(body, into) != nil {
			t.Fatalf("%s: %d %s %v", path, code, body, err)
		}
	}
	code, body, err := server.Request(http.MethodGet, "/v1/agent/self", server.ManagementToken, nil)
	var self struct{ Config struct{ NodeName string } }
	if err != nil || code != http.StatusOK || json.Unmarshal(body, &self) != nil {
		t.Fatalf("agent/self: %d %s %v", code, body, err)
	}
	o.NodeName = self.Config.NodeName
	mine, _ := serve(t, o)
	return newSide(t, server.Addr), newSide(t, mine.Listener.Addr().String()), server
}

func put(path, body string) step { return step{method: http.MethodPut, path: path, body: body} }
func get(path string) step       { return step{path: path} }
func del(path string) step       { return step{method: http.MethodDelete, path: path} }
func txn(body string) step       { return put("/v1/txn", body) }

func (s step) as(name string) step { s.name = name; return s }

func (s step) with(name, value string) step {
	header := map[string]string{name: value}
	for n, v := range s.header {
		header[n] = v
	}
	s.header = header
	return s
}

// The store of both has had a write before the first step.
func first() []step { return []step{put("/v1/kv/first", "x"), del("/v1/kv/first")} }

func TestSameAsConsulKV(t *testing.T) {
	consul, ours, _ := both(t, consulhttp.Options{})
	big := strings.Repeat("big value ", 1000)
	steps := append(first(),
		put("/v1/kv/a", "1"), get("/v1/kv/a").as("a"), get("/v1/kv/a?pretty"), get("/v1/kv/a?raw"), get("/v1/kv/a?raw&pretty"),
		get("/v1/kv/a?stale"), get("/v1/kv/a?consistent"), get("/v1/kv/a?cached"), get("/v1/kv/a?leader"),
		get("/v1/kv/none").as("none"), get("/v1/kv/none?raw"), get("/v1/kv/a?index={index:a}&wait=10ms"), get("/v1/kv/a?index=1"),
		get("/v1/kv/none?index={index:none}&wait=10ms"), get("/v1/kv/none?index=1&wait=10ms"), get("/v1/kv/a?index=99999999&wait=10ms"),
		get("/v1/kv/a?index=0&wait=1h"), get("/v1/kv/a?wait=-5s"), get("/v1/kv/?keys&index=99999999&wait=1ms"),
		// Writes.
		put("/v1/kv/a", "1"), get("/v1/kv/a"), put("/v1/kv/a?flags=42", "1"), get("/v1/kv/a").as("a"), put("/v1/kv/a?flags=18446744073709551615", "1"),
		get("/v1/kv/a").as("a"), put("/v1/kv/a?flags=18446744073709551616", "1"), put("/v1/kv/a?flags=x", "1"), put("/v1/kv/a?flags=", "1"),
		put("/v1/kv/a?cas=0", "2"), put("/v1/kv/new?cas=0", "2"), put("/v1/kv/a?cas={index:a}", "3"), put("/v1/kv/a?cas={index:a}", "4"), put("/v1/kv/a?cas=x", ""),
		put("/v1/kv/a?cas=", ""), put("/v1/kv/a?cas=1&acquire=x", ""), put("/v1/kv/a?acquire=1&release=x", ""), put("/v1/kv/a?acquire", ""), put("/v1/kv/a?release", ""),
		put("/v1/kv/a?acquire=nope", "x"), put("/v1/kv/a?release=nope", "x"), put("/v1/kv/", "x"), put("/v1/kv/empty", ""), get("/v1/kv/empty"), get("/v1/kv/empty?raw"),
		put("/v1/kv/dir/", "x"), get("/v1/kv/dir/"), get("/v1/kv/dir"), put("/v1/kv/dir/b/c", "x"), put("/v1/kv/dir/b/d", "<&>\"\\\x00\xff"), get("/v1/kv/dir/b/d"), get("/v1/kv/dir/b/d?raw"),
		put("/v1/kv/dir/e", big), put("/v1/kv/dir/<&>%22%5c%C3%A9%E2%82%AC%F0%9F%98%80", "x"), put("/v1/kv/dir/%2e", "x"), put("/v1/kv/%ff", "x"), get("/v1/kv/%ff"),
		// Lists.
		get("/v1/kv/?recurse"), get("/v1/kv/dir/?recurse&pretty"), get("/v1/kv/dir/b?recurse"), get("/v1/kv/dir/b?recurse&raw"), get("/v1/kv/nodir/?recurse"), get("/v1/kv/nodir/?recurse&pretty"),
		get("/v1/kv/?keys"), get("/v1/kv/?keys&separator=/"), get("/v1/kv/?keys&seperator=/"), get("/v1/kv/dir?keys&separator=/"), get("/v1/kv/dir/?keys&separator=/"), get("/v1/kv/dir/?keys&separator=b"),
		get("/v1/kv/dir/?keys&separator="), get("/v1/kv/dir/?keys&pretty"), get("/v1/kv/nodir/?keys"), get("/v1/kv/?keys&recurse&raw"), get("/v1/kv/?keys&separator=dir&seperator=/"), get("/v1/kv/?raw"), get("/v1/kv/"),
		get("/v1/kv/dir/?recurse=false"), get("/v1/kv/dir/e"), get("/v1/kv/dir/e?raw"), get("/v1/kv/dir/e?pretty"),
		get("/v1/kv/dir/e").with("Accept-Encoding", "gzip"), get("/v1/kv/dir/e?raw").with("Accept-Encoding", "gzip"), get("/v1/kv/dir/e?raw").with("Accept-Encoding", "gzip;q=0"), get("/v1/kv/dir/?recurse&pretty").with("Accept-Encoding", "br, gzip;q=0.5"),
		get("/v1/kv/a").with("Accept-Encoding", "gzip"), get("/v1/kv/a?raw").with("Accept-Encoding", "gzip"), get("/v1/kv/none").with("Accept-Encoding", "gzip"), get("/v1/kv/a?index=x").with("Accept-Encoding", "gzip"), put("/v1/kv/a", "x").with("Accept-Encoding", "gzip"),
		// Deletions.
		get("/v1/kv/dir/b/c").as("c"), del("/v1/kv/dir/b/c?cas=1"), del("/v1/kv/dir/b/c?cas=x"), del("/v1/kv/dir/b/c?cas=0"), del("/v1/kv/dir/b/c?cas={index:c}"), del("/v1/kv/dir/b/c?cas={index:c}"), get("/v1/kv/dir/b?keys"), get("/v1/kv/dir/b/c?recurse"),
		del("/v1/kv/dir/b/c?cas=1&recurse"), del("/v1/kv/"), del("/v1/kv/none"), get("/v1/kv/none"), del("/v1/kv/dir/e"), get("/v1/kv/dir/?keys"), del("/v1/kv/dir/?recurse"), get("/v1/kv/dir/?keys"), get("/v1/kv/dir/b/?keys"), get("/v1/kv/dir/?recurse"), get("/v1/kv/?keys"),
		del("/v1/kv/?recurse"), get("/v1/kv/?keys"), get("/v1/kv/?recurse"), get("/v1/kv/?keys&pretty"), get("/v1/kv/zz?keys"),
	)
	compare(t, consul, ours, steps)
}

func TestSameAsConsulRequests(t *testing.T) {
	consul, ours, _ := both(t, consulhttp.Options{})
	steps := append(first(), put("/v1/kv/a", "1"))
	for _, path := range []string{"/v1/kv/a", "/v1/txn", "/v1/session/create", "/v1/session/list", "/v1/session/info/x", "/v1/session/renew/x", "/v1/status/leader"} {
		for _, method := range []string{http.MethodOptions, http.MethodPost, http.MethodPatch, http.MethodHead, "NONSENSE"} {
			steps = append(steps, step{method: method, path: path})
		}
	}
	for _, path := range []string{
		"/v1/kv/a?index=x", "/v1/kv/a?index=-1", "/v1/kv/a?index=18446744073709551616", "/v1/kv/a?wait=x", "/v1/kv/a?wait=5", "/v1/kv/a?stale&consistent", "/v1/kv/a?cached&consistent",
		"/v1/kv/a?max_stale=x", "/v1/kv/a?max_stale=1s&consistent", "/v1/kv/a?max_stale=0s&consistent", "/v1/kv/a?dc=other", "/v1/kv/a?dc=dc1", "/v1/kv/a?datacenter=other&dc=dc1", "/v1/kv/?dc=other", "/v1/kv/a?ns=x", "/v1/kv/a?partition=x&ns=", "/v1/kv/a?ns=&dc=",
		"/v1/kv/a?x=1;y", "/v1/kv/a?%zz", "/v1/kv/a?token=whatever",
		"/v1/kv", "/v1/kv?keys", "/v1/kv/a//b", "/v1/kv//a", "//v1/kv/a", "/v1/kv/../kv/a", "/v1/kv/a/../b?x=1", "/v1/kv/./a", "/v1/kv/a/.", "/v1/kv/a/..", "/v1/kv/%2e", "/v1/kv/%2e%2e", "/v1/kv/a%2f%2e%2e%2fb", "/v1/kv/%2e%2e/b", "/v1/kv/a%2e%2e", "/v1/kv/..a",
		"/v1/kv/%252e%252e/b", "/v1/kv/a%2520b", "/v1/kv/a%25zz", "/v1/kv/%20a", "/v1/kv/a%20", "/v1/kv/a%20b", "/v1/kv/+a+", "/v1/kv/a%0ab", "/v1/kv/a%00b", "/v1/kv/a%7f", "/v1/kv/a%E2%80%8B", "/v1/kv/a%1b[31m", "/v1/kv/a%2fb", "/v1/kv/a;b", "/v1/kv/a%3fb", "/v1/kv/a%5c..%5cb",
		"/v1/kv/" + strings.Repeat("long/", 2000), "/V1/kv/a", "/v1/KV/a", "/v1/nope", "/nope", "/v1", "/v1/", "/v2/v1/x", "/v1/txn/", "/v1/session", "/v1/session/info", "/v1/session/list/", "/v1/status/",
		"/v1/session/info/", "/v1/session/node/", "/v1/session/list", "/v1/session/list?dc=other", "/v1/session/info/x?dc=other", "/v1/session/info/x?ns=a", "/v1/session/info/x?index=a", "/v1/session/info/x", "/v1/session/node/x", "/v1/session/list?pretty",
		"/v1/status/leader", "/v1/status/peers", "/v1/status/leader?pretty", "/v1/status/leader?dc=other", "/v1/status/peers?wait=x",
	} {
		steps = append(steps, get(path))
	}
	for _, path := range []string{"/v1/kv/a//b", "/v1/kv/%2e%2e/b", "/v1/kv/a%0a", "/v1/kv/%20", "/v1/kv/a?dc=x", "/v1/kv/a?ns=x", "/v1/kv/a?index=x", "/v1/session/create?ns=x", "/v1/session/create?dc=other", "/v1/session/destroy/", "/v1/session/destroy/x", "/v1/session/destroy/x?dc=other", "/v1/session/renew/", "/v1/session/renew/x", "/v1/session/renew/x?wait=u"} {
		steps = append(steps, put(path, "x"))
	}
	for _, value := range []string{"max-age=5", "max-age=x", "must-revalidate, max-age=0", "stale-if-error=x", "Max-Age=-1"} {
		steps = append(steps, get("/v1/kv/a").with("Cache-Control", value))
	}
	steps = append(steps,
		get("/v1/kv/a").with("X-Consul-Namespace", "x"), get("/v1/kv/a").with("X-Consul-Partition", "x"), put("/v1/session/create", "").with("X-Consul-Partition", "x"),
		get("/v1/kv/a").with("X-Consul-Token", "whatever"), get("/v1/kv/a").with("Content-Type", "text/html"), put("/v1/kv/a", "x").with("Content-Type", "text/html"), get("/v1/kv/a").with("Origin", "http://example.com"),
		put("/v1/kv/big", strings.Repeat("x", 512<<10)), get("/v1/kv/big?raw"), put("/v1/kv/big", strings.Repeat("x", 512<<10+1)),
	)
	for n := range 3 {
		st := put("/v1/kv/big", strings.Repeat("x", 512<<10+n))
		st.chunked = true
		steps = append(steps, st)
	}
	compare(t, consul, ours, steps)
}

func TestSameAsConsulTxn(t *testing.T) {
	consul, ours, _ := both(t, consulhttp.Options{})
	op := func(verb, key, more string) string {
		return fmt.Sprintf(`{"KV":{"Verb":%q,"Key":%q%s}}`, verb, key, more)
	}
	ops := func(list ...string) step { return txn("[" + strings.Join(list, ",") + "]") }
	repeat := func(n int, one string) step { return ops(strings.Split(strings.Repeat(one+"\n", n-1)+one, "\n")...) }
	steps := append(first(),
		ops(op("set", "a", `,"Value":"MQ==","Flags":7`), op("set", "b/1", `,"Value":""`), op("set", "b/2", `,"Value":null`), op("get", "a", "")), get("/v1/kv/a").as("a"), get("/v1/kv/b/?recurse"),
		ops(op("get", "a", "")), ops(op("get", "a", ""), op("get-or-empty", "none", ""), op("get-tree", "b", ""), op("get-tree", "none", "")), ops(op("get", "none", ""), op("get", "none2", ""), op("get", "a", "")),
		ops(op("get-or-empty", "none", `,"Flags":7,"Value":"aGk=","Index":3,"Session":"q"`)), ops(op("get-or-empty", "a", `,"Flags":9`)),
		ops(op("check-index", "a", `,"Index":{index:a}`)), ops(op("check-index", "none", `,"Index":1`)), ops(op("check-index", "a", `,"Index":1`)), ops(op("check-not-exists", "none", "")), ops(op("check-not-exists", "a", "")), ops(op("check-session", "a", `,"Session":"x"`)), ops(op("check-session", "none", `,"Session":"x"`)), ops(op("check-session", "a", `,"Session":""`)),
		ops(op("cas", "a", `,"Index":0`)), ops(op("cas", "a", `,"Index":1`)), ops(op("cas", "a", `,"Index":{index:a},"Value":"Mg=="`), op("get", "a", "")), ops(op("cas", "new", `,"Index":0,"Value":"Mg=="`), op("cas", "b/1", `,"Index":0`), op("set", "z", "")), get("/v1/kv/?keys"),
		ops(op("delete-cas", "a", `,"Index":1`)), ops(op("delete-cas", "none", `,"Index":1`)), ops(op("delete", "none", ""), op("delete", "b/1", "")), ops(op("delete-tree", "b", ""), op("get-tree", "b", ""), op("get-or-empty", "b/2", "")), ops(op("delete-tree", "none", "")), get("/v1/kv/b?recurse"),
		ops(op("lock", "l", `,"Session":"x"`)), ops(op("lock", "l", "")), ops(op("unlock", "l", `,"Session":"x"`)), ops(op("unlock", "l", "")),
		ops(op("set", "<&>\u00e9\U0001F600", `,"Value":"PA=="`), op("get", "<&>\u00e9\U0001F600", "")), ops(op("set", "../x//y ", ""), op("get", "../x//y ", "")), ops(op("get", "none<&>", "")),
		ops(op("delete-tree", "", "")), ops(op("set", "", "")), ops(op("get-tree", "", "")), ops(op("zap", "a", "")), ops(op("GET", "a", "")), ops(op("", "a", ""), op("get", "", "")), ops(op("zap", "a", ""), op("set", "a", "")),
		ops(op("set", "x/1", `,"Value":"MQ=="`), op("set", "x/1", `,"Value":"Mg=="`), op("delete", "x/1", ""), op("set", "x/1", `,"Value":"Mw=="`), op("get", "x/1", "")), get("/v1/kv/x/1"), get("/v1/kv/?recurse"), ops(op("set", "x/1", `,"Value":"Mw=="`), op("get", "x/1", "")), get("/v1/kv/?keys"),
		txn(""), txn("null"), txn("[]"), txn("{}"), txn("[{}]"), txn(`[{"KV":null}]`), txn(`[{"Foo":1}]`), txn(`[{"Session":{}}]`), txn("[]x"), txn("[] []"), txn("x"), txn("["), txn(`"x"`), txn("7"), txn(`[7]`), txn(`[{"KV":7}]`), txn(`[[]]`),
		ops(op("set", "a", `,"Value":"!!"`)), ops(op("set", "a", `,"Value":7`)), ops(op("set", "a", `,"Flags":"x"`)), ops(op("set", "a", `,"Flags":-1`)), ops(op("set", "a", `,"Flags":1.5`)), ops(op("set", "a", `,"Zip":1`)), ops(op("set", "a", `,"Namespace":"n","Partition":"p"`)), txn(`[{"kv":{"verb":"get","KEY":"x/1"}}]`), txn(`[{"KV":{"Verb":7}}]`), txn(`[{"KV":{"Key":7}}]`),
		txn(`[{"KV":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}]`), txn(`[{"KV":{"Verb":`+strings.Repeat(`{"a":`, 20000)+strings.Repeat("}", 20000)+`}}]`),
		repeat(128, op("get-or-empty", "a", "")), repeat(129, op("get-or-empty", "a", "")), repeat(128, op("set", "many", "")), repeat(129, op("set", "many", "")),
		txn(strings.Repeat(" ", 512<<10)+"[]"), txn("["+strings.Repeat(" ", 512<<10-2)+"]"), ops(op("set", "big", `,"Value":"`+strings.Repeat("QUFB", 100<<10)+`"`), op("get", "big", "")), ops(op("get", "big", "")), ops(op("get", "big", "")).with("Accept-Encoding", "gzip"),
		put("/v1/txn?pretty", "["+op("get", "x/1", "")+"]"), put("/v1/txn?pretty", "["+op("get", "none", "")+"]"), put("/v1/txn?pretty", "[]"), put("/v1/txn?stale", "[]"), put("/v1/txn?consistent&stale", "[]"), put("/v1/txn?index=x", "[]"), put("/v1/txn?index=x", "["+op("set", "x/1", "")+"]"), put("/v1/txn?dc=x", "[]"), put("/v1/txn?dc=x", "["+op("set", "x/1", "")+"]"), put("/v1/txn?ns=x", "[]"),
	)
	chunked := txn("[" + strings.Repeat(" ", 512<<10) + "]")
	chunked.chunked = true
	compare(t, consul, ours, append(steps, chunked))
}

func TestSameAsConsulSessions(t *testing.T) {
	consul, ours, _ := both(t, consulhttp.Options{})
	create := func(body string) step { return put("/v1/session/create", body) }
	steps := append(first(), get("/v1/session/list"), create("").as("s"), create(`{"Name":"n<","TTL":"15s","LockDelay":"1ms","Behavior":"delete","Foo":1}`).as("d"))
	for _, body := range []string{
		`{"Node":"x"}`, `{"Node":""}`, `{"Checks":["nope"]}`, `{"NodeChecks":["nope"]}`, `{"ServiceChecks":[{"ID":"nope"}]}`, `{"Behavior":"x"}`, `{"TTL":"x"}`, `{"TTL":"1s"}`, `{"TTL":"24h1s"}`, `{"LockDelay":"x"}`, `{"Name":3}`, `{"NodeChecks":3}`, `{`, `[]`, `null`, `7`, `{}x`,
	} {
		if body == "null" { // makes one
			continue
		}
		if body == "{}x" {
			steps = append(steps, create(body).as("x"))
			continue
		}
		steps = append(steps, create(body))
	}
	for i, body := range []string{`{"LockDelay":5}`, `{"LockDelay":5000000000}`, `{"LockDelay":0}`, `{"LockDelay":"100s"}`, `{"Behavior":""}`, `{"TTL":"0s"}`, `{"Checks":[]}`, `{"NodeChecks":[]}`, `{"NodeChecks":null}`, `{"Checks":["serfHealth"]}`, `{"NodeChecks":["serfHealth"]}`, `{"ID":"mine"}`, `{"ServiceChecks":[]}`} {
		name := fmt.Sprintf("m%d", i)
		steps = append(steps, create(body).as(name), get("/v1/session/info/{session:"+name+"}"), put("/v1/session/destroy/{session:"+name+"}", ""))
	}
	steps = append(steps,
		put("/v1/session/destroy/{session:x}", ""), get("/v1/session/info/{session:s}").as("info"), get("/v1/session/info/{session:s}?index={index:info}&wait=10ms"), get("/v1/session/info/{session:d}?pretty"), get("/v1/session/info/none"), get("/v1/session/info/none?index={index:info}&wait=10ms"),
		put("/v1/session/renew/{session:d}", ""), put("/v1/session/renew/{session:s}", ""), put("/v1/session/renew/none", ""),
		put("/v1/kv/l?acquire={session:s}", "1"), get("/v1/kv/l"), put("/v1/kv/l?acquire={session:d}", "2"), put("/v1/kv/l?release={session:d}", "2"), put("/v1/kv/l?acquire={session:s}", "1"), put("/v1/kv/l?acquire={session:s}&flags=9", "1"), get("/v1/kv/l"), put("/v1/kv/l", "plain"), get("/v1/kv/l"), put("/v1/kv/l?release={session:s}", "3"), get("/v1/kv/l"), put("/v1/kv/l?release={session:s}", "3"),
		put("/v1/kv/l?acquire={session:d}", "4"), get("/v1/kv/l"), txn(`[{"KV":{"Verb":"check-session","Key":"l","Session":"{session:d}"}}]`), txn(`[{"KV":{"Verb":"check-session","Key":"l","Session":"x"}}]`), txn(`[{"KV":{"Verb":"lock","Key":"l","Session":"{session:s}"}}]`), txn(`[{"KV":{"Verb":"lock","Key":"m","Session":"{session:s}","Value":"MQ=="}},{"KV":{"Verb":"get","Key":"m"}}]`), txn(`[{"KV":{"Verb":"unlock","Key":"m","Session":"{session:s}"}}]`), txn(`[{"KV":{"Verb":"lock","Key":"m","Session":"{session:s}"}}]`),
		put("/v1/session/destroy/{session:s}", ""), get("/v1/kv/m"), put("/v1/kv/m?acquire={session:d}", "x"), txn(`[{"KV":{"Verb":"lock","Key":"m","Session":"{session:d}"}}]`), put("/v1/session/destroy/{session:d}", ""), get("/v1/kv/l"), get("/v1/kv/?recurse"), get("/v1/session/list"), put("/v1/session/destroy/{session:d}", ""),
	)
	compare(t, consul, ours, steps)
}
