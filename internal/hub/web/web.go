package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/httpd"
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

	Token   func(*http.Request) string // of a request
	MayRead func(*http.Request) error  // why the token may not read receipts
	Private func(*http.Request) bool   // the answer goes over TLS, or to this machine
}

// Web serves the page. It is safe for concurrent use; Run is called once.
type Web struct {
	o       Options
	model   *model
	rights  rights
	pages   func() map[string]*template.Template
	handler http.Handler
	streams chan struct{} // a place for each open stream
}

//go:embed templates assets
var files embed.FS

// New reads nothing yet.
func New(o Options) *Web {
	w := &Web{o: o, model: newModel(o), pages: sync.OnceValue(parse), streams: make(chan struct{}, maxStreams)}
	w.rights = rights{ask: o.Rights, known: map[string]map[string]verdict{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/fleet", http.StatusSeeOther) })
	for path := range views {
		mux.HandleFunc("GET "+path, w.page)
	}
	mux.HandleFunc("GET /search", w.search)
	mux.HandleFunc("GET /live", w.live)
	mux.HandleFunc("GET /points/{key...}", w.points)
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
	case "fleet", "key", "nodes", "node", "history", "search", "live", "points", "login", "logout", "assets":
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
		h.Set("Cache-Control", "no-cache")
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
	Body  any
}

// views make the content of pages, by the pattern of their path.
var views = map[string]struct { //nolint:gochecknoglobals // nothing changes it
	name string // of the template
	make func(*Web, *asked) (view, error)
}{
	"/fleet":            {"fleet", (*Web).fleet},
	"/nodes":            {"nodes", (*Web).nodes},
	"/key/{key...}":     {"key", (*Web).key},
	"/node/{node...}":   {"node", (*Web).node},
	"/history/{key...}": {"history", (*Web).history},
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

// shown is what templates get.
type shown struct {
	view
	Live     string // the path of the stream
	Hub      string
	Version  string
	Search   string
	LoggedIn bool
	Stale    string // why the fleet could not be read again
	Taken    time.Time
	Path     string
}

// page answers with a whole page.
func (w *Web) page(rw http.ResponseWriter, r *http.Request) {
	s, err := w.ready(r)
	if err == nil {
		var html []byte
		if html, err = w.render(r.Context(), r, s, "page"); err == nil {
			rw.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = rw.Write(html) //nolint:gosec // html/template has escaped it; it fails if the client has disconnected
			return
		}
	}
	w.fail(rw, r, err)
}

// ready checks the caller's token and returns the newest snapshot.
func (w *Web) ready(r *http.Request) (*snapshot, error) {
	if err := w.o.MayRead(r); err != nil {
		return nil, &problem{http.StatusForbidden, err.Error()}
	}
	return w.model.newest(r.Context())
}

// render renders a view, or with "live" the part of it that changes.
func (w *Web) render(ctx context.Context, r *http.Request, s *snapshot, part string) ([]byte, error) {
	pattern, rest := r.URL.Path, ""
	if parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 2); len(parts) == 2 {
		for p := range views {
			if strings.HasPrefix(p, "/"+parts[0]+"/") {
				pattern, rest = p, parts[1]
			}
		}
	}
	v, ok := views[pattern]
	if !ok {
		return nil, &problem{http.StatusNotFound, "there is no such page"}
	}
	a := &asked{ctx: ctx, r: r, snapshot: s, query: parseQuery(r.URL), pattern: pattern, rest: rest}
	body, err := v.make(w, a)
	if err != nil {
		return nil, err
	}
	here := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		here += "?" + r.URL.Query().Encode()
	}
	_, cookie := cookieToken(r)
	data := shown{view: body, Live: "/live?at=" + url.QueryEscape(here), Hub: w.o.Hub, Version: w.o.Version,
		Search: render.Line(a.Q), LoggedIn: cookie, Taken: s.taken, Path: here}
	if s.failed != nil {
		data.Stale = render.Error(s.failed)
	}
	var b bytes.Buffer
	if err := w.pages()[v.name].ExecuteTemplate(&b, part, data); err != nil {
		return nil, fmt.Errorf("this is a bug in kvexpress: %w", err)
	}
	return b.Bytes(), nil
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
	w.write(rw, p.code, "error", view{Title: http.StatusText(p.code), Body: p.text}, "")
}

// write answers with a page that is no view.
func (w *Web) write(rw http.ResponseWriter, code int, name string, v view, at string) {
	var b bytes.Buffer
	err := w.pages()[name].ExecuteTemplate(&b, "page", shown{view: v, Hub: w.o.Hub, Version: w.o.Version, Path: at})
	if err != nil {
		httpd.Text(rw, http.StatusInternalServerError, "this is a bug in kvexpress: "+err.Error())
		return
	}
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.WriteHeader(code)
	_, _ = rw.Write(b.Bytes()) // it fails if the client has disconnected
}

// parse parses the templates of all pages: each has the layout, and a part of its own.
func parse() map[string]*template.Template {
	funcs := template.FuncMap{
		"line": render.Line, "span": func(m fleet.Millis) string { return render.Span(time.Duration(m)) },
		"plural": render.Plural, "number": func(v uint64) string { return render.Number(v, "–") }, "short": render.Short,
		"time": render.Time, "took": func(m fleet.Millis) string { return render.Took(time.Duration(m)) },
		"keypath":     func(k string) string { return "/key/" + escapePath(k) },
		"nodepath":    func(n string) string { return "/node/" + escapePath(n) },
		"historypath": func(k string) string { return "/history/" + escapePath(k) },
	}
	layout := template.Must(template.New("").Funcs(funcs).ParseFS(files, "templates/layout.html"))
	pages := map[string]*template.Template{}
	for _, name := range []string{"fleet", "nodes", "key", "node", "history", "login", "error"} {
		pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(files, "templates/"+name+".html"))
	}
	return pages
}

// escapePath escapes a name as a part of a path, slashes too but for those of keys.
func escapePath(name string) string { return strings.ReplaceAll(url.PathEscape(name), "%2F", "/") }
