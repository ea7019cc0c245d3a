package difftest

import (
	"net/http"
	"strings"

	"pgregory.net/rapid"
)

func drawTxn(t *rapid.T) Step {
	s := Step{Method: http.MethodPut, Target: "/v1/txn" + query(drawModeRarely(t))}
	if rarely(t, 10) {
		// Not [null]: Consul breaks off the connection then, and serve refuses it.
		s.Body = pick(t, "broken", "", "[]", "null", "{}", "1", `"x"`, "[", "[{}]", `[{"KV":null}]`, `[{"KV":{}}]`, `[{"KV":1}]`, `[{"KV":"x"}]`, `[{"KV":[]}]`, `[[]]`, `[1]`, "[] x", "[]]", "\xff", `{"KV":{"Verb":"get","Key":"a"}}`,
			`[{"Unknown":{"Verb":"get"}}]`, `[{"Kv":{"verb":"get-or-empty","key":"{p}/a"}}]`, `[{"KV":{"Verb":"get-or-empty","Key":"{p}/a","Unknown":1}}]`, `[{"KV":{"Verb":"get","Key":"{p}/a"},"KV":{"Verb":"set","Key":"{p}/a"}}]`,
			strings.Repeat("[", 20_000), `[{"KV":{"Verb":"set","Key":"{p}/a","Value":"{b64:393000}"}}]`, `[{"KV":{"Verb":"set","Key":"{p}/a","Value":"{b64:390000}"}}]`)
		s.Chunked = s.Body != "" && rarely(t, 4)
		return s
	}
	if rarely(t, 60) {
		s.Fill = rapid.SampledFrom([]int{524288, 524289, 800_000}).Draw(t, "fill")
		s.Chunked = rapid.Bool().Draw(t, "chunked")
		return s
	}
	reads := rarely(t, 3)
	var ops []string
	if rarely(t, 25) {
		op := drawOp(t, reads)
		for range rapid.SampledFrom([]int{64, 65, 127, 128, 129, 130}).Draw(t, "many") {
			ops = append(ops, op)
		}
	} else {
		for range rapid.IntRange(1, 6).Draw(t, "ops") {
			ops = append(ops, drawOp(t, reads))
		}
	}
	s.Body = "[" + strings.Join(ops, ",") + "]"
	s.Chunked = rarely(t, 20)
	return s
}

func drawOp(t *rapid.T, read bool) string {
	reads := []string{"get-or-empty", "get", "get-tree", "check-index", "check-session", "check-not-exists"}
	verbs := reads
	if !read {
		verbs = append([]string{"set", "cas", "delete", "delete-tree", "delete-cas", "lock", "unlock"}, reads...)
	}
	verb := pick(t, "verb", verbs...)
	if rarely(t, 40) {
		verb = pick(t, "odd verb", "", "frob", "SET", "get ", "Get", "set\n")
	}
	key := pick(t, "key", usual()...)
	if rarely(t, 15) {
		// Transactions take names as they are.
		key = pick(t, "odd key", "", "/", "/{p}", "{p}//a", "{p}/..", "../{p}", "{p}/\u00e9", "{p}/\u200b", "{p}/\x7f", "{p}/ ", "{p}/%2e", "{p}/<&>\u2028", "{p}/\"q\"", "{p}/\\", strings.Repeat("k", 3000))
	}
	var b strings.Builder
	b.WriteString(`{"KV":{"Verb":` + jsonText(verb))
	if !rarely(t, 60) {
		b.WriteString(`,"Key":` + jsonText(key))
	}
	maybe := func(name string, seldom int, value func() string) {
		if seldom == 1 || rarely(t, seldom) {
			b.WriteString(`,"` + name + `":` + value())
		}
	}
	often := func(verbs ...string) int {
		for _, v := range verbs {
			if v == verb {
				return 1
			}
		}
		return 12
	}
	maybe("Value", often("set", "cas", "lock", "unlock"), func() string {
		return pick(t, "value", `"MQ=="`, `"Mg=="`, `""`, "null", `"AP8="`, `"MQ"`, `"x"`, `"MQ==\n"`, "1", "[]", "{}", "true", `"-_=="`, `"{b64:1000}"`)
	})
	maybe("Index", often("cas", "delete-cas", "check-index"), func() string {
		return pick(t, "index", "0", "{mod:"+plainKey(key)+"}", "{mod-1:"+plainKey(key)+"}", "1", "999999999", "18446744073709551615", "18446744073709551616", "-1", "1.5", `"1"`, "null", "1e3", "[]")
	})
	maybe("Session", often("lock", "unlock", "check-session"), func() string {
		return pick(t, "session", `"{s0}"`, `"{s1}"`, `"{s9}"`, `""`, `"garbage"`, "null", "1")
	})
	maybe("Flags", 10, func() string {
		return pick(t, "flags", "0", "7", "18446744073709551615", "-1", "1.5", `"1"`, "null", "true")
	})
	maybe("Namespace", 80, func() string { return pick(t, "namespace", `""`, `"default"`, "null") })
	b.WriteString("}}")
	return b.String()
}

// plainKey is the key, if it can be in a path as it is, for an index.
func plainKey(key string) string {
	for _, k := range usual() {
		if k == key {
			return key
		}
	}
	return "{p}/a"
}

// jsonText is a JSON string; placeholders in it stay as they are.
func jsonText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// drawCreate never asks for a lock-delay or a TTL that could end meanwhile.
func drawCreate(t *rapid.T) Step {
	s := Step{Method: http.MethodPut, Target: "/v1/session/create" + query(drawModeRarely(t))}
	if rarely(t, 8) {
		s.Body = pick(t, "broken", "", "{}", "null", "[]", "{", `"x"`, "1", "{} x", `{"Unknown":1}`, `{"name":"n","lockdelay":0}`, `{"LockDelay":0,"LockDelay":"15s"}`, "\xff", `{"Name":"n"} {"Name":"m"}`)
		s.Chunked = s.Body != "" && rarely(t, 4)
		return s
	}
	fields := []string{`"LockDelay":0`}
	if rarely(t, 3) {
		fields[0] = `"LockDelay":` + pick(t, "delay", `"60s"`, `"15s"`, `"0s"`, "15", "60", `"1h"`, "90000000000", `"x"`, `""`, "null", "-1", `"-1s"`, `"15"`, "15.0", "true", "[]")
	}
	add := func(name string, seldom int, values ...string) {
		if rarely(t, seldom) {
			fields = append(fields, `"`+name+`":`+pick(t, name, values...))
		}
	}
	add("Behavior", 3, `"delete"`, `"release"`, `""`, `"frob"`, "null", "1", `"Delete"`)
	add("TTL", 4, `"600s"`, `"24h"`, `""`, `"10m"`, `"9s"`, `"9.999s"`, `"86400s"`, `"86401s"`, `"25h"`, `"x"`, "600", "null", `"-1s"`, `"0s"`, `"0"`, `"1h1m"`)
	add("Name", 4, `"n"`, `""`, `"<\u00e9>"`, "1", "null", "true", "[]")
	add("Node", 10, `"difftest"`, `"nobody"`, `""`, "null", `"DIFFTEST"`, "1")
	add("NodeChecks", 8, "[]", `["serfHealth"]`, `["nope"]`, "null", `"serfHealth"`, "1", `["serfHealth","serfHealth"]`, `["SERFHEALTH"]`, `[""]`, `[1]`)
	add("Checks", 8, "[]", `["serfHealth"]`, `["nope"]`, "null", `"serfHealth"`, `[""]`)
	add("ServiceChecks", 12, "[]", `[{"ID":"nope"}]`, `[{"ID":"serfHealth"}]`, "null", `[{}]`, `["nope"]`, `[{"ID":"nope","Namespace":"x"}]`)
	add("ID", 12, `"x"`, `"{s0}"`, "1", "null")
	add("Namespace", 30, `""`, `"default"`)
	add("CreateIndex", 30, "5", `"x"`)
	add("Unknown", 20, "1")
	s.Body = "{" + strings.Join(fields, ",") + "}"
	return s
}

func drawSessions(t *rapid.T) Step {
	method := http.MethodGet
	var path string
	switch rapid.IntRange(0, 6).Draw(t, "which") {
	case 0, 1, 2:
		method, path = http.MethodPut, "/v1/session/destroy/"+drawSession(t)
	case 3:
		method, path = http.MethodPut, "/v1/session/renew/"+drawSession(t)
	case 4:
		path = "/v1/session/info/" + drawSession(t)
	case 5:
		path = "/v1/session/list"
	default:
		path = "/v1/session/node/" + pick(t, "node", "difftest", "nobody", "", "DIFFTEST", "difftest/", "a%20b")
	}
	mode := drawMode(t)
	if method == http.MethodGet {
		return Step{Method: method, Target: path + query(mode, drawWait(t, path))}
	}
	return Step{Method: method, Target: path + query(mode)}
}
