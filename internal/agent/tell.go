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

// tell logs what a pass came to, if it is news.
func (t *target) tell(r install.Result, err error, state outcome.Outcome) {
	if r.Action == install.ExecRan {
		if err == nil {
			t.log.Info("the owed exec ran", "version", r.Version)
		}
	} else {
		for _, note := range r.Notes {
			t.log.Warn(oneLine(note))
		}
	}
	switch r.Action {
	case install.Installed, install.Restored, install.Repaired:
		t.log.Info(string(r.Action), "version", r.Version, "sha256", r.SHA256, "lines", r.Lines)
	}
	detail := ""
	if err != nil {
		detail = t.explain(err)
	}
	news := state != t.told || t.detail != detail
	t.told, t.detail = state, detail
	switch {
	case err == nil || !news && state != outcome.Pending:
	case state == outcome.Stopped || state == outcome.Locked:
		t.log.Info("left as it is", "why", detail)
	case state == outcome.Unreachable: // the link has told it, once for all targets
	case !t.retry.IsZero():
		t.log.Warn("not done", "error", detail, "again in", time.Until(t.retry).Round(time.Second))
	default:
		t.log.Warn("not done", "error", detail)
	}
	tellOutput(t.log, err, &t.output)
}

// tellOutput logs each line that a failed command printed, unless it is what it printed last time.
func tellOutput(log *slog.Logger, err error, last *string) {
	failed := (*command.Error)(nil)
	if !errors.As(err, &failed) || failed.Output == *last {
		return
	}
	*last = failed.Output
	for line := range strings.Lines(failed.Output) {
		log.Warn("the command printed", "line", strings.TrimSuffix(line, "\n"))
	}
}

// noteExec keeps what an exec came to; the target's mu is held.
func (s *TargetStatus) noteExec(ran *command.Result, err error, now time.Time) {
	s.Exec.Retry = nil
	if ran == nil {
		return
	}
	s.Exec.Last, s.Exec.Exit, s.Exec.Took, s.Exec.Output = &now, ran.ExitCode, ran.Duration, ran.Output
	if err == nil {
		s.Exec.Failures = 0
		s.Counts.ExecOK++
	} else {
		s.Exec.Failures++
		s.Counts.ExecFail++
	}
	if s.Counts.ExecSeconds == nil {
		s.Counts.ExecSeconds = make([]uint64, len(ExecBuckets())+1)
	}
	at := 0
	for at < len(ExecBuckets()) && ran.Duration.Seconds() > ExecBuckets()[at] {
		at++
	}
	s.Counts.ExecSeconds[at]++
	s.Counts.ExecTotal += ran.Duration
}

// maxDetail is the most bytes of a text from outside that are kept.
const maxDetail = 1 << 10

// oneLine makes a text fit for a log or a terminal.
func oneLine(said string) string { return safetext.Joined(said, maxDetail) }
