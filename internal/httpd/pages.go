package httpd

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// Pages are the answers to GET and HEAD for monitors and people, by path.
type Pages map[string]func(http.ResponseWriter)

// ServeHTTP implements http.Handler.
func (p Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if bug := recover(); bug != nil { // after the begin of an answer, this spoils it, as it should
			Text(w, http.StatusInternalServerError, fmt.Sprintf("this is a bug in kvexpress: %v", bug))
		}
	}()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		Text(w, http.StatusMethodNotAllowed, "only GET and HEAD are allowed")
		return
	}
	if write := p[r.URL.Path]; write != nil {
		write(w)
		return
	}
	Text(w, http.StatusNotFound, "not found; pages:\n"+strings.Join(slices.Sorted(maps.Keys(p)), "\n"))
}

// Verdict answers ok, or 503 with the error.
func Verdict(check func() error) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		if err := check(); err != nil {
			Text(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		Text(w, http.StatusOK, "ok")
	}
}

// Text answers with printable lines.
func Text(w http.ResponseWriter, code int, lines string) {
	Begin(w, "text/plain; charset=utf-8")
	w.WriteHeader(code)
	lines = strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, lines)
	fmt.Fprintln(w, lines) //nolint:gosec // it is plain text, and nosniff keeps browsers from seeing HTML in it
}

// Begin sets the headers of every page. Browsers neither cache it nor guess its type.
func Begin(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// Paths that every daemon answers.
const (
	HealthPath  = "/healthz"
	ReadyPath   = "/readyz"
	MetricsPath = "/metrics"
	StatusPath  = "/status" // of an agent
)
