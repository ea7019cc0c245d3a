package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
)

// Options configure the page.
type Options struct {
	Store    kv.Store // with the hub's token
	Layout   kv.Layout
	Receipts fleet.Hub
	Rights   kv.Permissions
	Expiry   time.Duration // time without contact after which a node is left out
	Hub      string        // its name
	Version  string        // of the program
	Secure   bool          // the hub has TLS
	Log      *slog.Logger

	// Rollout is the last rollout of a key; outputs: with what commands printed.
	Rollout func(ctx context.Context, k kv.Key, outputs bool) (rollout.View, error)

	Token   func(*http.Request) string           // of a request
	As      func(token string) (kv.Store, error) // the store with the token of a caller
	MayRead func(*http.Request) error            // why the token may not read receipts
	MayAct  func(*http.Request) error            // why the caller may not act, whatever the token may write
	Private func(*http.Request) bool             // the answer goes over TLS, or to this machine
}

// Web serves the page. It is safe for concurrent use; Run is called once.
type Web struct {
	o       Options
	model   *model
	rights  rights
	handler http.Handler
	streams chan struct{} // a place for each open stream
}

//go:embed assets
var files embed.FS

// filesID is another one when a file is: a browser may keep the files that it has by this name.
var filesID = sync.OnceValue(func() string { //nolint:gochecknoglobals // nothing changes it
	sum := sha256.New()
	names, _ := fs.Glob(files, "assets/*") // the pattern is right
	for _, name := range names {
		b, _ := files.ReadFile(name) // Glob has found it
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
})

// New reads nothing yet.
func New(o Options) *Web {
	w := &Web{o: o, model: newModel(o), streams: make(chan struct{}, maxStreams)}
	w.rights = rights{ask: o.Rights, known: map[string]map[string]verdict{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/fleet", http.StatusSeeOther) })
	for path := range views {
		mux.HandleFunc("GET "+path, w.page)
	}
	mux.HandleFunc("GET /search", w.search)
	mux.HandleFunc("GET /live", w.live)
	mux.HandleFunc("GET /points/{key...}", w.points)
	mux.HandleFunc("GET /act/{key...}", w.act)
	mux.HandleFunc("POST /act/{key...}", w.act)
	mux.HandleFunc("GET /login", func(rw http.ResponseWriter, r *http.Request) { w.login(rw, r, http.StatusOK, "") })
	mux.HandleFunc("POST /login", w.enter)
	mux.HandleFunc("POST /logout", w.leave)
	mux.Handle("GET /assets/", http.FileServerFS(files))
	w.handler = http.NewCrossOriginProtection().Handler(mux)
	return w
}

// Has reports whether a request is for the page. A browser gets it at /, too, where an embedded store has an answer for programs.
func Has(r *http.Request) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "fleet", "key", "nodes", "node", "history", "search", "live", "points", "act", "login", "logout", "assets":
		return true
	}
	return r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// Run reads the fleet while the page is open somewhere, until ctx ends.
func (w *Web) Run(ctx context.Context) { w.model.run(ctx) }

// policy lets a browser load from this hub alone, and run no script that is in a page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP implements http.Handler.
func (w *Web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h := rw.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if strings.HasPrefix(r.URL.Path, "/assets/") {
		h.Set("Cache-Control", either(r.URL.RawQuery == filesID(), "private, max-age=31536000, immutable", "no-cache"))
	}
	w.handler.ServeHTTP(rw, useCookie(r))
}

// problem is an error with a status and a text for people.
type problem struct {
	code int
	text string
}

func (p *problem) Error() string { return p.text }

// view is the content of one page.
type view struct {
	Title string
	Body  markup
}

// views make the content of pages, by the pattern of their path.
var views = map[string]func(*Web, *asked) (view, error){ //nolint:gochecknoglobals // nothing changes it
	"/fleet":            (*Web).fleet,
	"/nodes":            (*Web).nodes,
	"/key/{key...}":     (*Web).key,
	"/node/{node...}":   (*Web).node,
	"/history/{key...}": (*Web).history,
}

// asked is one request for a view.
type asked struct {
	ctx context.Context
	r   *http.Request
	*snapshot
	query
	pattern string
	rest    string // of the path, after the pattern
}

// page answers with a whole page.
func (w *Web) page(rw http.ResponseWriter, r *http.Request) {
	s, err := w.ready(r)
	if err == nil {
		var html []byte
		if html, err = w.render(r.Context(), r, s, shown.page); err == nil {
			rw.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = rw.Write(html) //nolint:gosec // h has escaped it; it fails if the client has disconnected
			return
		}
	}
	w.fail(rw, r, err)
}

// ready checks the caller's token and returns the newest snapshot.
func (w *Web) ready(r *http.Request) (*snapshot, error) {
	if err := w.o.MayRead(r); errors.As(err, new(*kv.StoreError)) {
		return nil, &problem{http.StatusServiceUnavailable, render.Error(err)} // who asks is not known
	} else if err != nil {
		return nil, &problem{http.StatusForbidden, err.Error()}
	}
	return w.model.newest(r.Context())
}

// render makes a page of a view, or with shown.live the part of it that changes.
func (w *Web) render(ctx context.Context, r *http.Request, s *snapshot, part func(shown) markup) ([]byte, error) {
	pattern, rest := r.URL.Path, ""
	if parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 2); len(parts) == 2 {
		for p := range views {
			if strings.HasPrefix(p, "/"+parts[0]+"/") {
				pattern, rest = p, parts[1]
			}
		}
	}
	show, ok := views[pattern]
	if !ok {
		return nil, &problem{http.StatusNotFound, "there is no such page"}
	}
	a := &asked{ctx: ctx, r: r, snapshot: s, query: parseQuery(r.URL), pattern: pattern, rest: rest}
	body, err := show(w, a)
	if err != nil {
		return nil, err
	}
	here := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		here += "?" + r.URL.Query().Encode()
	}
	_, cookie := cookieToken(r)
	data := shown{view: body, Live: "/live?at=" + url.QueryEscape(here), Hub: w.o.Hub, Version: w.o.Version,
		Search: render.Line(a.Q), Login: url.QueryEscape(here), LoggedIn: cookie, Taken: s.taken}
	if s.failed != nil {
		data.Stale = render.Error(s.failed)
	}
	return []byte(part(data)), nil
}

// fail answers with an error. A caller without rights gets the form for a token.
func (w *Web) fail(rw http.ResponseWriter, r *http.Request, err error) {
	p := &problem{http.StatusServiceUnavailable, ""}
	if !errors.As(err, &p) {
		p.text = render.Error(err)
	}
	if p.code == http.StatusForbidden && r.Header.Get("Accept") != "text/event-stream" {
		w.login(rw, r, p.code, p.text)
		return
	}
	title := http.StatusText(p.code)
	w.write(rw, p.code, view{title, errorMarkup(title, p.text)})
}

// write answers with a page that is no view.
func (w *Web) write(rw http.ResponseWriter, code int, v view) {
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.WriteHeader(code)
	_, _ = rw.Write([]byte(shown{view: v, Hub: w.o.Hub, Version: w.o.Version}.page())) // it fails if the client has disconnected
}

// escapePath escapes a name as a part of a path, slashes too but for those of keys.
func escapePath(name string) string { return strings.ReplaceAll(url.PathEscape(name), "%2F", "/") }
