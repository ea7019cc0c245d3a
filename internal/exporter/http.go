package exporter

import (
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"kvexpress/internal/observe/promtext"
)

// Handler answers what monitors ask.
func (e *Exporter) Handler() http.Handler { return pages{e} }

type pages struct{ *Exporter }

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		text(w, http.StatusMethodNotAllowed, "only GET and HEAD are answered here")
		return
	}
	switch r.URL.Path {
	case "/healthz":
		verdict(w, p.Healthy())
	case "/readyz":
		verdict(w, p.Ready())
	case "/metrics":
		begin(w, promtext.ContentType)
		_ = p.WriteMetrics(w, time.Now()) // it fails when the client is gone
	default:
		text(w, http.StatusNotFound, "not found; what there is:\n/healthz\n/readyz\n/metrics")
	}
}

func verdict(w http.ResponseWriter, err error) {
	if err != nil {
		text(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	text(w, http.StatusOK, "ok")
}

// text answers with lines for people, in which nothing can upset a terminal.
func text(w http.ResponseWriter, code int, lines string) {
	begin(w, "text/plain; charset=utf-8")
	w.WriteHeader(code)
	lines = strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, lines)
	fmt.Fprintln(w, lines)
}

func begin(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
