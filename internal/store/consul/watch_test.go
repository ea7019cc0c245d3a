package consul_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// short is the wait of a watch that is not to wait.
const short = 10 * time.Millisecond

// raw is a stand-in's reply to a watch: pairs of header names and values, and
// the bytes of the entry.
func raw(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		answer(status, "text/plain; charset=utf-8", body)(w, r)
	}
}

const index = "X-Consul-Index"

// Only a complete answer of Consul is an entry, or the absence of one.
func TestWatchAnswersThatAreNotConsuls(t *testing.T) {
	const html = "text/html; charset=utf-8"
	type test struct {
		name    string
		handler http.HandlerFunc
		want    error
		says    string
	}
	tests := []test{
		{"captive portal", answer(200, html, "<h1>Log in!</h1>"+token), kv.ErrNotStore, "set Consul's"},
		{"captive portal by redirect", raw(302, "", "Location", "http://login.example/?"+token), kv.ErrNotStore,
			"login.example/?(secret); kvexpress does not follow"},
		{"redirect with an index", raw(307, "x", index, "7", "Location", "/v1/kv/other"), kv.ErrNotStore, "does not follow"},
		{"no index", raw(200, "x"), kv.ErrNotStore, `the index ""`},
		{"404 of a web server", answer(404, html, "not here"), kv.ErrNotStore, `status 404 with the index ""`},
		{"204", raw(204, "", index, "7"), kv.ErrNotStore, "204"},
		{"206", raw(206, "x", index, "7"), kv.ErrNotStore, "206"},
		{"410", raw(410, "gone", index, "7"), kv.ErrRequest, "gone"},
		{"403", raw(403, "Permission denied: "+token, index, "7"), kv.ErrDenied, "Permission denied: (secret)"},
		{"500", raw(500, "internal\x1b[31m\r\nerror "+token, index, "7"), kv.ErrUnreachable, `internal\x1b[31m\r\nerror (secret)`},
		{"an entry, of a server without a leader", raw(200, "x", index, "7", "X-Consul-KnownLeader", "false"), kv.ErrUnreachable,
			"no leader"},
		{"absence, of a server without a leader", raw(404, "", index, "7", "X-Consul-KnownLeader", "false"), kv.ErrUnreachable,
			"no leader"},
		{"an entry that was compressed", compressed(t), kv.ErrNotStore, "gzip"},
		{"endless entry", endlessEntry(t, ""), kv.ErrNotStore, "1024 KiB"},
		{"endless entry with a length", endlessEntry(t, "1099511627776"), kv.ErrNotStore, "1024 KiB"},
		{"endless error", endlessError(t), kv.ErrUnreachable, "xxx"},
		{"endless header", raw(200, "x", index, "7", "X-Filler", strings.Repeat("x", 1<<20)), kv.ErrUnreachable, "header"},
		{"entry that breaks off", raw(200, "x", index, "7", "Content-Length", "1000"), kv.ErrUnreachable, "broke off"},
		{"absence that breaks off", raw(404, "x", index, "7", "Content-Length", "1000"), kv.ErrUnreachable, "broke off"},
		{"connection closed", hangUp, kv.ErrUnreachable, "EOF"},
		{"not HTTP, with the token", malformed, kv.ErrUnreachable, "(secret)"},
		{"not HTTP, long", verbatim(strings.Repeat("x\x00", 1<<13) + "\r\n\r\n"), kv.ErrUnreachable, "malformed"},
		{"not HTTP, endless", verbatim(strings.Repeat("x", 1<<20)), kv.ErrUnreachable, "exceeded"},
		{"a header that is none", verbatim("HTTP/1.1 200 OK\r\n\x1b[31m" + token + "\r\n\r\n"), kv.ErrUnreachable, `\x1b[31m(secret)`},
		{"an entry without an end", verbatim("HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\n\r\nx"), kv.ErrNotStore, "length"},
		{"an entry without an end, of HTTP/1.0", verbatim("HTTP/1.0 200 OK\r\nX-Consul-Index: 7\r\n\r\nx"), kv.ErrNotStore, "length"},
	}
	for _, bad := range []string{
		"0", "-1", "+1", "1.5", "1e3", "0x10", "1_000", "18446744073709551616", strings.Repeat("9", 400), "seven", "7 8", "7,8", token,
	} {
		shown := strings.ReplaceAll(bad, token, "(secret)")
		if len(shown) > 100 {
			shown = shown[:100]
		}
		tests = append(tests, test{"index " + shown, raw(200, "x", index, bad), kv.ErrNotStore, strings.Trim(shown, "7 8\t")},
			test{"404 with the index " + shown, raw(404, "", index, bad), kv.ErrNotStore, "404"})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, consul.Options{Addr: serve(t, test.handler).URL, Token: token})
			for _, since := range []uint64{0, 7} {
				entry, err := s.Watch(t.Context(), readPath, since, short)
				checkError(t, "Watch", err, test.want)
				if err != nil && !strings.Contains(told(err), test.says) {
					t.Errorf("Watch says %q, want %q in it", err, test.says)
				}
				if entry.State != kv.Denied || entry.Value != nil || entry.Index != 0 {
					t.Errorf("Watch gives state %d, %d bytes and index %d beside its error, want nothing", entry.State, len(entry.Value),
						entry.Index)
				}
			}
		})
	}
}

// verbatim sends bytes that net/http's server would not send, and hangs up.
func verbatim(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, text) // the client may have left
		_ = conn.Close()
	}
}

// compressed answers with a compressed body, which was not requested: a few bytes of it unpack to many.
func compressed(t *testing.T) http.HandlerFunc {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return raw(200, b.String(), index, "7", "Content-Encoding", "gzip")
}

// endlessEntry sends an entry until the client has had enough, which must be soon.
func endlessEntry(t *testing.T, length string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(index, "7")
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		flood(t, w)
	}
}

func endlessError(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		flood(t, w)
	}
}

func flood(t *testing.T, w io.Writer) {
	chunk := bytes.Repeat([]byte("x"), 1<<16)
	for sent := 0; ; sent += len(chunk) {
		if sent > 64<<20 { // the most that is read, and all that buffers on the way may hold
			t.Error("the client reads without an end")
			return
		}
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// The entry has Consul's bytes and index unchanged.
func TestWatchAnswers(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    kv.Entry
	}{
		{"an entry", raw(200, "x", index, "7"), kv.Entry{State: kv.Present, Value: []byte("x"), Index: 7}},
		{"every byte", raw(200, string(every), index, "7", "X-Consul-KnownLeader", "true"),
			kv.Entry{State: kv.Present, Value: every, Index: 7}},
		{"an empty entry", raw(200, "", index, "7"), kv.Entry{State: kv.Present, Index: 7}},
		{"the lowest index", raw(200, "x", index, "1"), kv.Entry{State: kv.Present, Value: []byte("x"), Index: 1}},
		{"the highest index", raw(200, "x", index, "18446744073709551615"),
			kv.Entry{State: kv.Present, Value: []byte("x"), Index: math.MaxUint64}},
		{"absent", raw(404, "", index, "7"), kv.Entry{State: kv.Absent, Index: 7}},
		{"absent, with a text", raw(404, "x", index, "7"), kv.Entry{State: kv.Absent, Index: 7}},
		{"as much as is read", raw(200, strings.Repeat("x", 1<<20), index, "7"),
			kv.Entry{State: kv.Present, Value: bytes.Repeat([]byte("x"), 1<<20), Index: 7}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, consul.Options{Addr: serve(t, test.handler).URL})
			for _, since := range []uint64{0, 7, test.want.Index} {
				got, err := s.Watch(t.Context(), readPath, since, short)
				if err != nil {
					t.Fatal(err)
				}
				if got.State != test.want.State || !bytes.Equal(got.Value, test.want.Value) || got.Index != test.want.Index {
					t.Errorf("Watch gives state %d, %d bytes, index %d; want %d, %d, %d",
						got.State, len(got.Value), got.Index, test.want.State, len(test.want.Value), test.want.Index)
				}
			}
		})
	}
}

// A watch sends one request, with these parameters.
func TestWatchQuery(t *testing.T) {
	var asked []url.Values
	s := open(t, consul.Options{Datacenter: "east", Namespace: "team", Partition: "part", Token: token,
		Addr: serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.Query())
			if r.URL.Path != "/behind/v1/kv/"+readPath || r.Method != http.MethodGet || r.Header.Get("X-Consul-Token") != token {
				t.Errorf("a watch asks %s %s, with the token %q", r.Method, r.URL.Path, r.Header.Get("X-Consul-Token"))
			}
			raw(200, "x", index, "18446744073709551615")(w, r)
		}).URL + "/behind/"})
	tests := []struct {
		since uint64
		wait  time.Duration
		want  string
	}{
		{0, time.Second, "dc=east&ns=team&partition=part&raw=&stale="},
		{7, time.Second, "dc=east&index=7&ns=team&partition=part&raw=&stale=&wait=1s"},
		{7, 24 * time.Hour, "dc=east&index=7&ns=team&partition=part&raw=&stale=&wait=1m0s"},
		{7, 0, "dc=east&index=7&ns=team&partition=part&raw=&stale=&wait=10ms"},
		{7, -time.Second, "dc=east&index=7&ns=team&partition=part&raw=&stale=&wait=10ms"},
		{math.MaxUint64, time.Second, "dc=east&index=18446744073709551615&ns=team&partition=part&raw=&stale=&wait=1s"},
	}
	for i, test := range tests {
		if _, err := s.Watch(t.Context(), readPath, test.since, test.wait); err != nil {
			t.Fatal(err)
		}
		if len(asked) != i+1 || asked[i].Encode() != test.want {
			t.Fatalf("a watch since %d for %s asks %v, want %s", test.since, test.wait, asked[i:], test.want)
		}
	}
}
