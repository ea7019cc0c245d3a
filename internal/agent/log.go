package agent

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"kvexpress/internal/command"
	"kvexpress/internal/install"
	"kvexpress/internal/outcome"
	"kvexpress/internal/safetext"
)

// logged is the result of a reconcile in the log.
type logged struct {
	outcome outcome.Outcome
	detail  string
}

// logResult logs the result of a reconcile. A failure that lasts is logged once: watches that fail in between are no news.
func (t *target) logResult(r install.Result, err error, o outcome.Outcome) {
	if r.Action == install.ExecRan {
		if err == nil {
			t.log.Info("pending exec ran", "version", r.Version)
		}
	} else {
		for _, note := range r.Notes {
			t.log.Warn(oneLine(note))
		}
	}
	switch r.Action {
	case install.Installed, install.Restored, install.Repaired:
		log := t.log
		if r.Provisional != "" {
			log = log.With("rollout", r.Provisional)
		}
		log.Info(string(r.Action), "version", r.Version, "sha256", r.SHA256, "lines", r.Lines)
	}
	now := logged{outcome: o}
	if err != nil {
		now.detail = t.explain(err)
	}
	news := now != t.logged
	t.logged = now
	switch {
	case err == nil || !news && o != outcome.Pending:
	case o == outcome.Stopped || o == outcome.Locked:
		t.log.Info("file stays as it is", "why", now.detail)
	case o == outcome.Unreachable: // the breaker has logged it, once for all targets
	case !t.retry.IsZero():
		t.log.Warn("failed; retrying", "in", time.Until(t.retry).Round(time.Second), "error", now.detail)
	default:
		t.log.Warn("failed", "error", now.detail)
	}
	logOutput(t.log, err, &t.output)
}

// logOutput logs each line that a failed command printed, unless it printed the same last time.
func logOutput(log *slog.Logger, err error, last *string) {
	failed := (*command.Error)(nil)
	if !errors.As(err, &failed) || failed.Output == *last {
		return
	}
	*last = failed.Output
	for line := range strings.Lines(failed.Output) {
		log.Warn("command output", "line", strings.TrimSuffix(line, "\n"))
	}
}

// maxDetail is the most bytes of a text from outside that are kept.
const maxDetail = 1 << 10

// oneLine makes a text fit for a log or a terminal.
func oneLine(text string) string { return safetext.Joined(text, maxDetail) }
