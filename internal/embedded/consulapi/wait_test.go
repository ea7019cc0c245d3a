package consulapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// waiting is a request that may block. The clock of these tests moves only when all goroutines wait.
type waiting struct {
	done  bool
	w     *httptest.ResponseRecorder
	after time.Duration
}

func ask(ctx context.Context, h *Handler, path, token string) *waiting {
	q, begun := &waiting{w: httptest.NewRecorder()}, time.Now()
	go func() {
		defer func() {
			if recover() == nil { // http.ErrAbortHandler: it is not answered
				q.done, q.after = true, time.Since(begun)
			}
		}()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		r.Header.Set("X-Consul-Token", token)
		h.ServeHTTP(q.w, r)
	}()
	synctest.Wait()
	return q
}

func (q *waiting) is(t *testing.T, when string, status int, index uint64) {
	t.Helper()
	synctest.Wait()
	got := q.w.Header().Get("X-Consul-Index")
	if q.done != (status != 0) || q.done && (q.w.Code != status || got != strconv.FormatUint(index, 10)) {
		t.Errorf("%s: answered %v, %d, index %s; want %d, %d", when, q.done, q.w.Code, got, status, index)
	}
}

func apply(t *testing.T, h *Handler, verb kv.Verb, path string) uint64 {
	t.Helper()
	all := embedded.Topic{Tree: true}
	op := kv.Op{Verb: verb, Path: path, Value: fmt.Append(nil, h.engine.View().Index(all))}
	if _, _, err := h.engine.Txn(context.Background(), []kv.Op{op}); err != nil {
		t.Fatal(err)
	}
	return h.engine.View().Index(all)
}

func newHandler(t *testing.T, acl *ACL) *Handler {
	t.Helper()
	engine, err := embedded.Open(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Engine: engine, ACL: acl})
}

// Only a change of the requested rows ends a blocking query. In Consul, each write ends the wait of an empty list.
func TestWoken(t *testing.T) {
	for name, path := range map[string]string{
		"a row": "/v1/kv/app/x?raw", "a list": "/v1/kv/app/?recurse", "keys": "/v1/kv/app/?keys&separator=/",
		"a missing row": "/v1/kv/app/none?raw", "a list of nothing": "/v1/kv/app/none/?recurse",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHandler(t, nil)
				for _, path := range []string{"app/x", "ap", "app"} {
					apply(t, h, kv.Set, path)
				}
				index := apply(t, h, kv.Set, "/")
				q := ask(t.Context(), h, path+"&index="+strconv.FormatUint(index, 10), "")
				for range 50 {
					for _, near := range []string{"app", "ap", "/"} {
						apply(t, h, kv.Set, near)
					}
				}
				apply(t, h, kv.Delete, "ap")
				q.is(t, "after other writes", 0, 0)
				for _, path := range []string{"app/x", "app/none", "app/none/y"} {
					apply(t, h, kv.Set, path)
				}
				synctest.Wait()
				if !q.done || q.w.Code != http.StatusOK && q.w.Code != http.StatusNotFound || q.after != 0 {
					t.Errorf("after its own: answered %v, %d, after %s", q.done, q.w.Code, q.after)
				}
			})
		})
	}
}

// A deleted row and a recreated row end a blocking query. Other writes do not.
func TestDeletedAndMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, nil)
		path := fmt.Sprintf("/v1/kv/a?index=%d", apply(t, h, kv.Set, "a"))
		q := ask(t.Context(), h, path, "")
		q.is(t, "nothing new", 0, 0)
		gone := apply(t, h, kv.Delete, "a")
		q.is(t, "deleted", http.StatusNotFound, gone)
		q = ask(t.Context(), h, fmt.Sprintf("/v1/kv/a?index=%d", gone), "")
		apply(t, h, kv.Set, "b")
		q.is(t, "another write", 0, 0)
		again := apply(t, h, kv.Set, "a")
		q.is(t, "made again", http.StatusOK, again)
	})
}

// A blocking query ends after its wait, which is limited, and when the client disconnects.
func TestWaitEnds(t *testing.T) {
	for wait, want := range map[string]time.Duration{
		"": defaultWait, "&wait=-1s": defaultWait, "&wait=1h": maxWait, "&wait=1s": time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newHandler(t, nil)
			index := apply(t, h, kv.Set, "a")
			q := ask(t.Context(), h, fmt.Sprintf("/v1/kv/a?index=%d%s", index, wait), "")
			<-time.After(2 * maxWait)
			q.is(t, wait, http.StatusOK, index)
			if q.after < want || q.after > want+want/jitterPart {
				t.Errorf("%s: it took %s, want %s and a little more", wait, q.after, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		q := ask(ctx, h, fmt.Sprintf("/v1/kv/a?index=%d", apply(t, h, kv.Set, "a")), "")
		cancel()
		q.is(t, "a client that has disconnected", 0, 0)
	})
}

// tokensThatMay returns the tokens "" and knownToken with these rules.
func tokensThatMay(t *testing.T, rules string) *Tokens {
	t.Helper()
	tokens, err := ParseTokens(fmt.Appendf(nil, "token %q { name = \"known\"\n%s }\nanonymous { %s }", knownToken, rules, rules))
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

const knownToken = "a-token-that-is-known"

// A request without a valid token never blocks, not even for a public key. A request whose token loses its permission while it waits gets
// nothing.
func TestNobodyWaitsWithoutToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acl := NewACL(tokensThatMay(t, `key_prefix "" { policy = "write" }`))
		h := newHandler(t, acl)
		index := apply(t, h, kv.Set, "a/b")
		for _, path := range []string{
			"/v1/kv/a/b?raw", "/v1/kv/a/?recurse", "/v1/kv/a/?keys", "/v1/kv/none/?recurse", "/v1/kv/none?raw",
		} {
			for _, token := range []string{"", "unknown"} {
				q := ask(t.Context(), h, fmt.Sprintf("%s&index=%d", path, index), token)
				if !q.done || q.w.Code != http.StatusForbidden {
					t.Errorf("%s with the token %q: answered %v, %d", path, token, q.done, q.w.Code)
				}
			}
		}
		ask(t.Context(), h, "/v1/kv/a/b", "").is(t, "without waiting", http.StatusOK, index)
		q := ask(t.Context(), h, fmt.Sprintf("/v1/kv/a/b?raw&index=%d", index), knownToken)
		q.is(t, "a known token", 0, 0)
		acl.Swap(tokensThatMay(t, ""))
		apply(t, h, kv.Set, "a/b")
		synctest.Wait()
		if !q.done || q.w.Code != http.StatusForbidden || q.w.Header().Get("X-Consul-Index") != "" {
			t.Errorf("after the permission was revoked: answered %v, %d %s", q.done, q.w.Code, q.w.Body)
		}
	})
}

// The body of a request without permission is not read.
func TestNoBodyWithoutToken(t *testing.T) {
	h := newHandler(t, NewACL(tokensThatMay(t, "")))
	for _, token := range []string{"", "unknown", knownToken} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/v1/kv/a", failing{t})
		r.Header.Set("X-Consul-Token", token)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusForbidden {
			t.Errorf("token %q: %d", token, w.Code)
		}
	}
}

type failing struct{ t *testing.T }

func (f failing) Read([]byte) (int, error) {
	f.t.Error("the body is read")
	return 0, errors.New("read")
}

// Requests for sessions, locks and other missing parts are refused, and name them.
func TestWhatIsNotHere(t *testing.T) {
	h := newHandler(t, nil)
	for _, r := range [][3]string{
		{"PUT", "/v1/session/create", ""}, {"GET", "/v1/session/list", ""},
		{"PUT", "/v1/kv/a?acquire=x", ""}, {"PUT", "/v1/kv/a?release=x", ""},
		{"PUT", "/v1/txn", `[{"KV":{"Verb":"lock","Key":"a","Session":"x"}}]`}, {"PUT", "/v1/txn", `[{"Node":{}}]`},
		{"PUT", "/v1/txn", `[{"KV":{"Verb":"set","Key":"a"}},{"KV":{"Verb":"get-or-empty","Key":"a"}}]`},
		{"PUT", "/v1/txn", `[{"KV":{"Verb":"delete-tree","Key":"a"}}]`},
		{"PUT", "/v1/acl/token", ""},
		{"GET", "/v1/catalog/nodes", ""}, {"GET", "/v1/health/node/x", ""}, {"PUT", "/v1/event/fire/x", ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), r[0], r[1], strings.NewReader(r[2])))
		said := strings.Contains(w.Body.String(), "is not available")
		if w.Code != http.StatusNotImplemented || !said || h.engine.View().Get("a") != nil {
			t.Errorf("%v: %d %s", r, w.Code, w.Body)
		}
	}
}
