package web_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hub/receipts"
	"kvexpress/internal/hub/web"
	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
)

// world is a page over an embedded store and a table of receipts, both in memory.
type world struct {
	t       *testing.T
	store   *store
	layout  kv.Layout
	table   *receipts.Table
	page    *web.Web
	rollout rollout.View
	remote  bool   // the browser is on another machine, without TLS
	mayAct  string // why no caller may act
}

// Tokens of the world. "" is a caller without one, who may read nothing.
const (
	all      = "token-that-may-read-all"
	noSecret = "token-that-may-not-read-the-key-secret"
	readOnly = "token-that-may-write-nothing"
	nothing  = "token-without-rights"
)

// store can be unreachable.
type store struct {
	*embedded.Store
	down atomic.Bool
}

func (s *store) Read(ctx context.Context, c kv.Consistency, paths ...string) (kv.Snapshot, error) {
	if s.down.Load() {
		return nil, &kv.StoreError{Op: "read", Kind: kv.ErrUnreachable, Says: "connection refused"}
	}
	return s.Store.Read(ctx, c, paths...)
}

// hub is the table as the hub has it.
type hub struct{ *receipts.Table }

func (h hub) Page(ctx context.Context, since uint64, wait time.Duration) (fleet.Page, error) {
	return h.Table.Page(ctx, since, wait, false)
}

func start(t *testing.T) *world {
	t.Helper()
	engine, err := embedded.Open(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	w.layout, _ = kv.NewLayout("kvexpress")
	w.store = &store{Store: engine.Store(embedded.Tokens(func(token string) (embedded.Rule, bool) {
		return func(path string, write bool) bool {
			return token == readOnly && write || token == nothing || token == "" || token == noSecret && strings.HasPrefix(path, "kvexpress/secret/")
		}, true
	}))}
	w.table = receipts.New(receipts.Options{Store: w.store, Layout: w.layout, Hub: "hub-1", Log: slog.New(slog.DiscardHandler)})
	token := func(r *http.Request) string { return r.Header.Get("X-Consul-Token") }
	w.page = web.New(web.Options{
		Store: w.store, Layout: w.layout, Receipts: hub{w.table}, Rights: w.store, Hub: "hub-1", Version: "2.0", Secure: true,
		Rollout: func(context.Context, kv.Key, bool) (rollout.View, error) { return w.rollout, nil },
		Token:   token, As: w.store.As, Log: slog.New(slog.DiscardHandler), Private: func(*http.Request) bool { return !w.remote },
		MayAct: func(*http.Request) error {
			if w.mayAct != "" {
				return errors.New(w.mayAct)
			}
			return nil
		},
		MayRead: func(r *http.Request) error {
			denied, err := w.store.Denied(r.Context(), token(r), []string{"kvexpress-nodes/x"}, nil)
			if len(denied) > 0 {
				err = errors.New("the token may not read the receipts")
			}
			return err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, work := range []func(context.Context){w.table.Sync, w.table.Persist, w.page.Run} {
		running.Go(func() { work(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// publish publishes a key, with a message.
func (w *world) publish(key, content, message string) {
	w.t.Helper()
	p := publish.Publisher{Store: w.store, Layout: w.layout, By: "ops@desk"}
	if _, err := p.Publish(w.t.Context(), publish.Request{Key: kv.Key(key), Content: []byte(content), Message: message}); err != nil {
		w.t.Fatal(err)
	}
}

// reports takes a receipt of a node that has the live version of a key in place, unless it has another outcome.
func (w *world) reports(node string, targets ...fleet.Target) {
	w.t.Helper()
	for i, x := range targets {
		m, err := w.store.Read(w.t.Context(), kv.Default, w.layout.Manifest(kv.Key(x.Key)))
		if err != nil {
			w.t.Fatal(err)
		}
		if manifest, err := kv.ParseManifest(m[w.layout.Manifest(kv.Key(x.Key))].Value); err == nil && (x.Outcome == outcome.Converged || x.Outcome == outcome.Pending) {
			targets[i].Version, targets[i].Lineage, targets[i].SHA256 = manifest.Version, manifest.Lineage, manifest.SHA256
		}
		targets[i].By = cmp.Or(x.By, fleet.ByAgent)
		targets[i].ExecPending = x.Outcome == outcome.Pending
	}
	slices.SortFunc(targets, func(a, b fleet.Target) int { return strings.Compare(a.File, b.File) })
	p := fleet.Part{Agent: fleet.Agent{Version: "2.0", Every: fleet.Millis(time.Minute)}, Targets: targets}
	for _, x := range targets {
		if x.Outcome == outcome.Pending {
			p.Outputs = append(p.Outputs, fleet.Output{Key: x.Key, File: x.File, Text: outputText})
		}
	}
	if err := w.table.Put(node, p, 100); err != nil {
		w.t.Fatal(err)
	}
	w.table.Connected(node, 1)
}

const outputText = "reload failed: password=hunter2 <script>hit()</script>"

// ask is the answer to a request with a token.
func (w *world) ask(method, path, token string, change func(*http.Request)) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, path, http.NoBody)
	r.Host = "hub.example:8610"
	if token != "" {
		r.Header.Set("X-Consul-Token", token)
	}
	if change != nil {
		change(r)
	}
	rec := httptest.NewRecorder()
	w.page.ServeHTTP(rec, r)
	return rec.Result()
}

// get is a page.
func (w *world) get(path, token string) (int, string) {
	w.t.Helper()
	resp := w.ask("GET", path, token, nil)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// shows waits until a page has all of these words.
func (w *world) shows(path string, words ...string) string {
	w.t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; {
		_, body := w.get(path, all)
		missing := slices.DeleteFunc(slices.Clone(words), func(word string) bool { return strings.Contains(body, word) })
		if len(missing) == 0 {
			return body
		}
		if time.Now().After(limit) {
			w.t.Fatalf("%s lacks %q:\n%s", path, missing, body)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// post sends a form.
func (w *world) post(path string, form url.Values, change func(*http.Request)) *http.Response {
	return w.ask("POST", path, "", func(r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if change != nil {
			change(r)
		}
	})
}
