package consulapi_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/httpd"
	"kvexpress/internal/kv"
)

// serve runs a handler over a new store in memory. Both end with the test, or with the returned function.
func serve(t testing.TB, o consulapi.Options, limits httpd.Options) (addr string, engine *embedded.Engine) {
	t.Helper()
	engine, err := embedded.Open(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Engine = engine
	if limits.Answer == 0 {
		limits = httpd.Options{Request: time.Minute, Answer: consulapi.AnswerTime}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- httpd.Serve(ctx, ln, consulapi.New(o), limits) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return ln.Addr().String(), engine
}

// open makes a store that the environment of the tests has no part in.

func set(t testing.TB, engine *embedded.Engine, path string, value []byte) uint64 {
	t.Helper()
	if _, _, err := engine.Txn(t.Context(), []kv.Op{{Verb: kv.Set, Path: path, Value: value}}); err != nil {
		t.Fatal(err)
	}
	return engine.View().Get(path).ModifyIndex
}

// asks is the answer to a client with a connection of its own. Its status is 0 without an answer.
func asks(t testing.TB, method, addr, path, body string) (status int, text string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return resp.StatusCode, string(b), resp.Header
}
