package consulapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
)

// FuzzRequest puts any request to the handler: it must answer, with JSON where it says so, and with no
// more than the store holds.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/kv/?recurse&pretty HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n",
		"GET /v1/kv/?keys&separator=/&index=1&wait=1s HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/kv/a?raw&index=99999 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/kv/%2e%2e/%00?x=1;y HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/kv/b?cas=0&flags=7 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"PUT /v1/kv/b?acquire=x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"DELETE /v1/kv/?recurse HTTP/1.1\r\nHost: x\r\n\r\n",
		"PUT /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: 66\r\n\r\n" +
			`[{"KV":{"Verb":"set","Key":"a","Value":"MQ=="}},{"KV":null},null] `,
		"PUT /v1/txn HTTP/1.1\r\nHost: x\r\nContent-Length: 43\r\n\r\n" + `[{"KV":{"Verb":"get-or-empty","Key":"a"}}] `,
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://h/v1/kv/a?token=%ff HTTP/1.0\r\nAuthorization: Bearer \r\nCache-Control: max-age=\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	engine, err := embedded.Open(embedded.Options{})
	if err != nil {
		f.Fatal(err)
	}
	h := consulapi.New(consulapi.Options{Engine: engine})
	disconnected, cancel := context.WithCancel(f.Context())
	cancel() // so that nothing waits
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return // the server answers those itself
		}
		if err := engine.DeleteTree(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"a", "a/b", "<&>\xff"} {
			set(t, engine, path, bytes.Repeat([]byte(path), 1000))
		}
		r.Body = io.NopCloser(io.LimitReader(r.Body, 1<<20))
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if end := recover(); end != nil && end != http.ErrAbortHandler {
					panic(end)
				}
			}()
			h.ServeHTTP(w, r.WithContext(disconnected))
		}()
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("status %d", w.Code)
		}
		isJSON := strings.HasPrefix(w.Header().Get("Content-Type"), "application/json")
		if isJSON && w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("no JSON: %q", w.Body)
		}
		if limit := 2<<20 + 128*64<<10; w.Body.Len() > limit { // 128 times all rows
			t.Errorf("an answer of %d bytes", w.Body.Len())
		}
	})
}
