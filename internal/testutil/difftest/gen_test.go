package difftest

import (
	"net/http"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// Simple names come first, so that a shrunk sequence uses them.

// usual keys collide often, and lie below each other.
func usual() []string {
	return []string{"{p}/a", "{p}/b", "{p}/a/b", "{p}/a/c", "{p}/ab", "{p}/", "{p}/a/", "{p}"}
}

// odd keys are those that a client may have, and a check of names or a tree of bytes may take for another.
func odd() []string {
	return []string{
		"", "{p}/.a", "{p}/a%20b", "{p}/a+b", "{p}/a%2Bb", "{p}/%C3%A9", "{p}/e%CC%81", "{p}/%F0%9F%98%80", "{p}/%3Fraw",
		"{p}/a%23b", "{p}/a&b",
		"{p}/%22q%22", "{p}/%3Ca%3E", "{p}/%5C", "{p}/a:b", "{p}/a*", "{p}/" + strings.Repeat("k", 255), "{p}/" +
			strings.Repeat("k/", 600),
	}
}

func rarely(t *rapid.T, one int) bool { return rapid.IntRange(0, one-1).Draw(t, "rarely") == one-1 }

func pick(t *rapid.T, what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }

func drawKey(t *rapid.T) string {
	if rarely(t, 8) {
		return pick(t, "odd key", odd()...)
	}
	return pick(t, "key", usual()...)
}

// query joins parameters, leaving out empty ones.
func query(params ...string) string {
	some := slices.DeleteFunc(params, func(p string) bool { return p == "" })
	if len(some) == 0 {
		return ""
	}
	return "?" + strings.Join(some, "&")
}

func drawIndex(t *rapid.T, key string) string {
	return pick(t, "index", "0", "{mod:"+key+"}", "{mod-1:"+key+"}", "{mod:{p}/a}", "1", "999999999", "18446744073709551615")
}

// drawRead is any of the ways to ask for rows.
func drawRead(t *rapid.T) Step {
	key := drawKey(t)
	shape := pick(t, "shape", "", "raw", "recurse", "keys", "keys&separator=/", "keys&separator=", "keys&separator=b",
		"recurse&keys", "keys&separator=ab")
	mode := ""
	if rarely(t, 4) {
		mode = pick(t, "mode", "consistent", "stale", "stale&consistent", "dc=dc1", "dc=dc2", "token=", "unknown=1")
	}
	wait := ""
	if mode != "dc=dc2" && mode != "stale&consistent" {
		wait = drawWait(t, "/v1/kv/"+key+query(shape))
	} else if key == "" { // either of two mistakes may be reported
		key = "{p}/a"
	}
	return Step{Method: http.MethodGet, Target: "/v1/kv/" + key + query(shape, mode, wait)}
}

// drawWait makes a read one that may block; it must not for long.
func drawWait(t *rapid.T, target string) string {
	if !rarely(t, 5) {
		return ""
	}
	return pick(t, "wait", "index=0", "index=1", "index={idx-1:"+target+"}", "index={idx:"+target+"}&wait=1ms",
		"index=999999999999&wait=2ms", "index=x", "index=-1", "index=",
		"wait=x", "wait=1s", "wait=0", "wait=1s&index=x", "index=1&wait=11m")
}

func drawValue(t *rapid.T) string {
	return pick(t, "value", "1", "2", "", "<b>\u00e9\u2028</b>", `{"a": 1}`, strings.Repeat("long ", 20_000))
}

func drawPut(t *rapid.T) Step {
	key := drawKey(t)
	flags, op := "", ""
	if rarely(t, 4) {
		flags = "flags=" + pick(t, "flags", "0", "1", "42", "18446744073709551615")
	}
	if rarely(t, 3) {
		op = "cas=" + drawIndex(t, key)
	}
	return Step{Method: http.MethodPut, Target: "/v1/kv/" + key + query(op, flags), Body: drawValue(t)}
}

func drawDelete(t *rapid.T) Step {
	key := drawKey(t)
	op := pick(t, "op", "", "", "", "recurse", "recurse", "cas")
	if op == "cas" {
		op += "=" + drawIndex(t, key)
	}
	return Step{Method: http.MethodDelete, Target: "/v1/kv/" + key + query(op)}
}

// drawWatch is a question that may wait.
func drawWatch(t *rapid.T) Step {
	key := pick(t, "key", usual()...)
	return Step{Method: Watch, Target: pick(t, "watched",
		"/v1/kv/"+key, "/v1/kv/"+key+"?raw", "/v1/kv/"+key+"?recurse", "/v1/kv/"+key+"?keys", "/v1/kv/"+key+"?keys&separator=/",
		"/v1/kv/"+key+"?stale", "/v1/kv/"+key+"?consistent",
		"/v1/kv/?recurse", "/v1/kv/?keys")}
}

func drawTxn(t *rapid.T) Step {
	s := Step{Method: http.MethodPut, Target: "/v1/txn"}
	if rarely(t, 20) {
		s.Body = pick(t, "broken", "{}", "1", `"x"`, "[", `[{"KV":1}]`, `[[]]`, `[1]`, `[{"Unknown":{"Verb":"set"}}]`,
			`[{"Kv":{"verb":"get-or-empty","key":"{p}/a"}}]`, `[{"KV":{"Verb":"get-or-empty","Key":"{p}/a","Unknown":1}}]`)
		return s
	}
	reads := rarely(t, 3)
	var ops []string
	if rarely(t, 25) {
		ops = slices.Repeat([]string{drawOp(t, reads)}, rapid.SampledFrom([]int{64, 127, 128, 129}).Draw(t, "many"))
	} else {
		for range rapid.IntRange(1, 6).Draw(t, "ops") {
			ops = append(ops, drawOp(t, reads))
		}
	}
	s.Body = "[" + strings.Join(ops, ",") + "]"
	return s
}

func drawOp(t *rapid.T, read bool) string {
	verb := pick(t, "read", "get-or-empty", "get-tree")
	if !read {
		verb = pick(t, "verb", "set", "cas", "delete", "check-index", "check-not-exists")
	}
	at := pick(t, "key", usual()...)
	key := at
	if rarely(t, 15) { // transactions take names as they are
		key = pick(t, "odd key", "", "/", "/{p}", "{p}//a", "{p}/..", "../{p}", "{p}/\u00e9", "{p}/\u200b", "{p}/ ", "{p}/%2e",
			"{p}/<&>\u2028", "{p}/'q'", strings.Repeat("k", 3000))
	}
	op := `{"KV":{"Verb":"` + verb + `","Key":"` + key + `"`
	maybe := func(field string, often bool, values ...string) {
		if often || rarely(t, 12) {
			op += `,"` + field + `":` + pick(t, field, values...)
		}
	}
	if !read { // Consul returns the fields of a read, which no client sets
		maybe("Value", verb == "set" || verb == "cas", `"MQ=="`, `"Mg=="`, `""`, "null", `"AP8="`, `"x"`, "1")
		maybe("Index", verb == "cas" || verb == "check-index", "0", "{mod:"+at+"}", "{mod-1:"+at+"}", "1", "999999999",
			"18446744073709551615", "-1")
		maybe("Flags", false, "0", "7", "18446744073709551615", "-1")
	}
	return op + "}}"
}

// sequences are what clients may send.
func sequences(most int) *rapid.Generator[Sequence] {
	step := rapid.Custom(func(t *rapid.T) Step {
		switch n := rapid.IntRange(0, 99).Draw(t, "kind"); {
		case n < 30:
			return drawPut(t)
		case n < 50:
			return drawRead(t)
		case n < 63:
			return drawDelete(t)
		case n < 85:
			return drawTxn(t)
		default:
			return drawWatch(t)
		}
	})
	return rapid.Custom(func(t *rapid.T) Sequence {
		return rapid.SliceOfN(step, 1, most).Draw(t, "steps")
	})
}
