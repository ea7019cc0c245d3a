package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"kvexpress/internal/httpd"
	"kvexpress/internal/observe"
	"kvexpress/internal/outcome"
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
// whether it has begun its work, see Ready. A local one answers on a Unix socket, whose mode
// says who may read the output of commands.
func Handler(status func() Status, healthy, ready func() error, local bool) http.Handler {
	if all := status; !local {
		status = func() Status { return all().Public() }
	}
	return httpd.Pages{
		{Path: HealthPath, Write: httpd.Verdict(healthy)},
		{Path: ReadyPath, Write: httpd.Verdict(ready)},
		{Path: MetricsPath, Write: func(w http.ResponseWriter) {
			httpd.Begin(w, observe.ContentType)
			_ = WriteMetrics(w, status(), time.Now()) // it fails when the client is gone
		}},
		{Path: StatusPath, Write: func(w http.ResponseWriter) {
			httpd.Begin(w, "application/json")
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			_ = enc.Encode(status()) // the same
		}},
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
		case t.Outcome == outcome.Unreachable:
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
	switch t.Outcome {
	case outcome.Starting:
		return false
	case outcome.Unreachable:
		c := t.Counts
		_, away := c.Refusals[string(outcome.Unreachable)]
		others := len(c.Refusals) > 1 || len(c.Refusals) == 1 && !away
		return t.Good != nil || others || c.Installs+c.Repairs+c.ExecOK+c.ExecFail > 0
	}
	return true
}
