package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"kvexpress/internal/observe/promtext"
)

// Paths of an agent's HTTP interface.
const (
	HealthPath  = "/healthz"
	ReadyPath   = "/readyz"
	MetricsPath = "/metrics"
	StatusPath  = "/status"
)

// maxReasons is how many reasons not to be ready are told.
const maxReasons = 50

// Handler answers what monitors and people ask of an agent. It changes nothing,
// and needs no more than one status at a time. healthy says whether the process
// works at all: a monitor that hears an error should restart it. ready says
// whether it has begun its work, see Ready.
func Handler(status func() Status, healthy, ready func() error) http.Handler {
	return &pages{status: status, healthy: healthy, ready: ready}
}

type pages struct {
	status         func() Status
	healthy, ready func() error
}

func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if bug := recover(); bug != nil { // after a beginning, this spoils what follows, as it should
			text(w, http.StatusInternalServerError, fmt.Sprintf("this is a bug in kvexpress: %v", bug))
		}
	}()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		text(w, http.StatusMethodNotAllowed, "only GET and HEAD are answered here")
		return
	}
	switch r.URL.Path {
	case HealthPath:
		verdict(w, p.healthy())
	case ReadyPath:
		verdict(w, p.ready())
	case MetricsPath:
		begin(w, promtext.ContentType)
		_ = WriteMetrics(w, p.status(), time.Now()) // it fails when the client is gone
	case StatusPath:
		begin(w, "application/json")
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(p.status()) // the same
	default:
		text(w, http.StatusNotFound, strings.Join([]string{"not found; what there is:", HealthPath, ReadyPath, MetricsPath, StatusPath}, "\n"))
	}
}

// Ready tells why an agent has not begun its work: nil once its configuration is
// loaded and the first pass over every target has come to an end, whatever that
// end was. A refused file is for alerts, and no reason to hold up a boot or a
// deploy that waits for readiness. For the same reason a store that goes away later
// changes nothing: the last good file is in place, and whoever uses it is served.
// Only a store that is away from the start does: nobody knows yet what the files
// should be.
func Ready(s Status) error {
	if s.Config.Loaded.IsZero() {
		return errors.New("the configuration is not loaded yet")
	}
	var reasons []error
	for _, t := range s.Targets {
		switch {
		case hadPass(t):
		case t.State == Away:
			reasons = append(reasons, fmt.Errorf("%s: %s: the store was away from the start: %s", t.Key, t.File, s.Store.Error))
		default:
			reasons = append(reasons, fmt.Errorf("%s: %s: the first pass has not ended yet", t.Key, t.File))
		}
	}
	if more := len(reasons) - maxReasons; more > 0 {
		reasons = append(reasons[:maxReasons], fmt.Errorf("and %d more", more))
	}
	return errors.Join(reasons...)
}

// hadPass reports whether the store has ever said what is to become of a target.
func hadPass(t TargetStatus) bool {
	switch t.State {
	case Starting:
		return false
	case Away:
		c := t.Counts
		_, away := c.Refusals[string(Away)]
		others := len(c.Refusals) > 1 || len(c.Refusals) == 1 && !away
		return t.Good != nil || others || c.Installs+c.Repairs+c.ExecOK+c.ExecFail > 0
	}
	return true
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
	fmt.Fprintln(w, lines) //nolint:gosec // it is plain text, and nosniff keeps browsers from seeing HTML in it
}

// begin sets the headers of every answer: it is of this moment, and what a browser
// takes it for is not the browser's guess.
func begin(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
