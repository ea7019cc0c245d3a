package difftest

import (
	"net/http"
	"net/url"
	"strings"

	"pgregory.net/rapid"
)

// Names come first from what is simple, so that a shrunk sequence uses that.

// usual keys collide often, and lie below each other.
func usual() []string {
	return []string{"{p}/a", "{p}/b", "{p}/a/b", "{p}/a/c", "{p}/ab", "{p}/", "{p}/a/", "{p}"}
}

// odd keys are those that an HTTP front, a check of names or a tree of bytes may
// take for another.
func odd() []string {
	return []string{
		"", "/", "{p}//a", "{p}/a//b", "//{p}", "{p}/.", "{p}/./a", "{p}/..", "{p}/../a", "..", "{p}/%2e", "{p}/%2e%2e/a", "{p}/%2E%2E",
		"{p}/...", "{p}/.a", "{p}%2Fa", "{p}/a%2Fb", "{p}/a%2F", "%2F{p}", "{p}%2F%2Fa", "{p}/a%20b", "{p}/%20", "{p}/a%20", "%20{p}", "{p}/a+b", "{p}/a%2Bb",
		"{p}/\u00e9", "{p}/%C3%A9", "{p}/e%CC%81", "{p}/%E2%80%8B", "{p}/%E2%80%AE", "{p}/%FF", "{p}/%C3", "{p}/\xff", "{p}/%F0%9F%98%80", "{p}/%EF%BB%BFa", "{p}/%C2%A0", "{p}/%C2%85",
		"{p}/%00", "{p}/%01", "{p}/%0A", "{p}/%09", "{p}/%7F", "{p}/%1B[31m", "{p}/%zz", "{p}/%", "{p}/%2",
		"{p}/%3Fraw", "{p}/a%23b", "{p}/a&b", "{p}/a;b", "{p}/%22q%22", "{p}/%3Ca%3E", "{p}/%5C", "{p}/a:b", "{p}/a*", "{p}/[a]", "{p}/%7Ba%7D",
		"{p}/" + strings.Repeat("k", 255), "{p}/" + strings.Repeat("k/", 600), "{p}/" + strings.Repeat("k", 5000),
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
	var some []string
	for _, p := range params {
		if p != "" {
			some = append(some, p)
		}
	}
	if len(some) == 0 {
		return ""
	}
	return "?" + strings.Join(some, "&")
}

func drawSession(t *rapid.T) string {
	return pick(t, "session", "{s0}", "{s1}", "{s2}", "{s9}", "", "garbage", "{s0}%20", "00000000-0000-4000-8000-00000000000")
}

func drawIndex(t *rapid.T, key string) string {
	return pick(t, "index", "0", "{mod:"+key+"}", "{mod-1:"+key+"}", "{mod:{p}/a}", "1", "999999999", "18446744073709551615", "18446744073709551616", "-1", "x", "", "1.0", "0x1", "%201", "+1", "01")
}

// drawRead is any of the ways to ask for rows.
func drawRead(t *rapid.T) Step {
	key := drawKey(t)
	const other = "sep" + "erator" // Consul's other spelling
	shape := pick(t, "shape", "", "raw", "recurse", "keys", "keys&separator=/", "keys&separator=", "keys&"+other+"=/", "keys&separator=b", "keys&"+other+"=/&separator=b", "recurse&raw", "recurse&keys", "raw=false", "recurse=false", "keys&separator=%2F", "keys&separator=ab", "keys&raw", "RAW", "recurse=&keys=&separator=/")
	s := Step{Method: http.MethodGet, Target: "/v1/kv/" + key + query(shape, drawMode(t), drawWait(t, "/v1/kv/"+key+query(shape)))}
	if (shape == "" || shape == "raw") && rarely(t, 5) {
		// Not of lists: an index with more digits could bring one over the least size for gzip.
		s.Header = pick(t, "accept", "Accept-Encoding: gzip", "Accept-Encoding: gzip;q=0", "Accept-Encoding: br, gzip;q=0.5", "Accept-Encoding: identity", "Accept-Encoding: *", "Accept-Encoding: ")
	}
	return s
}

// drawMode is what any read may say besides.
func drawMode(t *rapid.T) string {
	if !rarely(t, 4) {
		return ""
	}
	return pick(t, "mode", "pretty", "consistent", "stale", "leader", "stale&consistent", "consistent=false", "pretty=false", "max_stale=1s", "max_stale=x", "max_stale=0", "max_stale=-1s",
		"stale&max_stale=1s", "max_stale=1s&consistent", "cached", "cached&consistent", "stale&leader", "dc=dc1", "dc=", "token=", "near=_agent", "unknown=1", "%zz", "a;b", "pretty&pretty", "&&", "filter=x")
}

// drawWait makes a read one that may block; it must not for long.
func drawWait(t *rapid.T, target string) string {
	if !rarely(t, 5) || strings.Contains(target, "%2") {
		return ""
	}
	return pick(t, "wait", "index=0", "index=1", "index={idx-1:"+target+"}", "index={idx:"+target+"}&wait=1ms", "index=999999999999&wait=2ms", "index=x", "index=-1", "index=", "index=1.5", "index=18446744073709551616",
		"wait=x", "wait=1s", "wait=-1s", "wait=5", "wait=0", "wait=", "wait=1s&index=x", "index=x&wait=x", "index=1&wait=11m", "index=1&wait=99999999h", "index=01", "index=1&index=x", "index=%201")
}

func drawBody(t *rapid.T, s *Step) {
	switch rapid.IntRange(0, 39).Draw(t, "body") {
	case 0, 1, 2, 3:
	case 39:
		s.Fill = rapid.SampledFrom([]int{1, 4096, 524287, 524288, 524289, 524290, 700_000, 900_000}).Draw(t, "fill")
		s.Chunked = rapid.Bool().Draw(t, "chunked")
	case 38:
		s.Body = string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes"))
		s.Chunked = rapid.Bool().Draw(t, "chunked")
	case 37:
		s.Chunked = true
	case 36:
		s.Header = pick(t, "header", "Content-Type: text/html", "Content-Type: application/json", "X-Consul-Token: ", "Cache-Control: max-age=x", "Cache-Control: no-cache, max-age=0", "X-Consul-Namespace: default", "Accept: text/html", "Accept-Encoding: gzip", "Accept-Encoding: gzip")
		s.Body = "h"
	default:
		s.Body = pick(t, "value", "1", "2", "<b>\u00e9\u2028</b>", "\x00\xff", "{\"a\": 1}")
	}
}

func drawPut(t *rapid.T) Step {
	key := drawKey(t)
	s := Step{Method: http.MethodPut}
	flags, op := "", ""
	if rarely(t, 4) {
		flags = "flags=" + pick(t, "flags", "0", "1", "42", "18446744073709551615", "18446744073709551616", "-1", "x", "", "0x1", "1e3")
	}
	switch rapid.IntRange(0, 12).Draw(t, "op") {
	case 5, 6, 7:
		op = "cas=" + drawIndex(t, key)
	case 8, 9:
		op = "acquire=" + drawSession(t)
	case 10, 11:
		op = "release=" + drawSession(t)
	case 12:
		op = pick(t, "conflict", "cas=0&acquire={s0}", "acquire={s0}&release={s0}", "cas=0&release={s0}", "cas=0&acquire={s0}&release={s0}", "recurse", "raw", "cas", "acquire", "release", "cas=0&cas=1", "keys", "index=x", "stale&consistent", "wait=x")
	}
	s.Target = "/v1/kv/" + key + query(op, flags, drawModeRarely(t))
	drawBody(t, &s)
	if _, err := url.PathUnescape(key); err != nil {
		s.Fill = min(s.Fill, 4096) // net/http refuses the path with the body unread: of a large one, the reset may overtake the answer
	}
	return s
}

func drawModeRarely(t *rapid.T) string {
	if rarely(t, 6) {
		return drawMode(t)
	}
	return ""
}

func drawDelete(t *rapid.T) Step {
	key := drawKey(t)
	op := ""
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 4, 5, 6:
		op = "recurse"
	case 7, 8:
		op = "cas=" + drawIndex(t, key)
	case 9:
		op = pick(t, "odd", "recurse&cas=0", "recurse=false", "cas", "recurse&cas", "keys", "recurse&separator=/")
	}
	return Step{Method: http.MethodDelete, Target: "/v1/kv/" + key + query(op, drawModeRarely(t))}
}

// drawMethod is a method that a path may not have.
func drawMethod(t *rapid.T) Step {
	s := Step{
		Method: pick(t, "method", http.MethodGet, http.MethodPut, http.MethodPost, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodDelete, "FROB", "get"),
		Target: pick(t, "path", "/v1/kv/{p}/a", "/v1/kv/", "/v1/kv/{p}/?recurse", "/v1/txn", "/v1/session/create", "/v1/session/destroy/{s0}", "/v1/session/renew/{s0}", "/v1/session/info/{s0}", "/v1/session/list", "/v1/session/node/difftest"),
	}
	if s.Method == http.MethodPut && s.Target == "/v1/txn" {
		s.Body = "[]"
	}
	return s
}

// drawWatch is a question that may wait.
func drawWatch(t *rapid.T) Step {
	key := pick(t, "key", usual()...)
	return Step{Method: Watch, Target: pick(t, "watched",
		"/v1/kv/"+key, "/v1/kv/"+key+"?raw", "/v1/kv/"+key+"?recurse", "/v1/kv/"+key+"?keys", "/v1/kv/"+key+"?keys&separator=/", "/v1/kv/"+key+"?stale", "/v1/kv/"+key+"?consistent", "/v1/kv/"+key+"?recurse&pretty",
		"/v1/kv/?recurse", "/v1/kv/?keys", "/v1/session/list", "/v1/session/info/{s0}", "/v1/session/node/difftest")}
}

// sequences are what a user, and who means harm, may send.
func sequences(most int) *rapid.Generator[Sequence] {
	step := rapid.Custom(func(t *rapid.T) Step {
		switch n := rapid.IntRange(0, 99).Draw(t, "kind"); {
		case n < 30:
			return drawPut(t)
		case n < 50:
			return drawRead(t)
		case n < 60:
			return drawDelete(t)
		case n < 74:
			return drawTxn(t)
		case n < 81:
			return drawCreate(t)
		case n < 89:
			return drawSessions(t)
		case n < 97:
			return drawWatch(t)
		default:
			return drawMethod(t)
		}
	})
	return rapid.Custom(func(t *rapid.T) Sequence {
		return rapid.SliceOfN(step, 1, most).Draw(t, "steps")
	})
}
