package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/command"
	"kvexpress/internal/fleet"
	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
)

// publication is one publish of in, copy or rollback, and what follows it.
type publication struct {
	publish.Request
	copied kv.Key // the key whose content it is; "": none
	diff   bool   // print the difference to the live version
	wait   waitFlags
	staged stagedFlags
}

// publish publishes, reports, runs the exec and waits for arrival. The report is nil if nothing was published.
func (s *session) publish(ctx context.Context, p publication) (*inReport, error) {
	ctx, done := s.interruptible(ctx)
	defer done()
	r := &inReport{}
	p.Now, p.Retry, p.Begin = p.staged.now, p.staged.retry, s.begins(p, r)
	result, err := s.publisher().Publish(ctx, p.Request)
	if err != nil {
		s.notPublished(ctx, p, err)
		return nil, err
	}
	r.Result = result
	if result.Rollout != "" && !p.DryRun {
		err := s.rollsOut(ctx, p, r)
		if failed := (*rolloutError)(nil); errors.As(err, &failed) && s.events.Enabled() {
			s.event(s.events.RolloutFailed(ctx, string(p.Key), string(failed.row.State), failed.row.Version, failed.row.Reason))
		}
		if err != nil || r.State != rollout.Promoted {
			return r, err
		}
		result.Action, result.Published = publish.Published, time.Now()
	}
	s.published(ctx, p, result)
	if result.Action.Wrote() {
		r.Exec, err = s.exec(ctx, "KVEXPRESS_KEY="+string(p.Key), "KVEXPRESS_SHA256="+result.SHA256,
			"KVEXPRESS_VERSION="+strconv.FormatUint(result.Version, 10))
	}
	if err == nil && p.wait.asked() && !p.DryRun {
		want := fleet.Wanted{Lineage: result.Lineage, Version: result.Version, SHA256: result.SHA256}
		r.Waited, err = s.wait(ctx, p.wait, fleet.Goal{Key: p.Key, Want: &want, Began: result.Published})
	}
	return r, err
}

func (s *session) publisher() *publish.Publisher {
	return &publish.Publisher{
		Store: s.store, Once: s.plain, Layout: s.layout, By: s.author(), Log: s.log, Fault: s.PublishFault,
	}
}

// published reports a publish: notes and difference for people, log, metrics, and the Datadog event.
func (s *session) published(ctx context.Context, p publication, r publish.Result) {
	for _, note := range r.Notes {
		s.warn(note)
	}
	if r.EventLost != nil {
		s.recorder().Lost(r.EventLost)
	}
	if p.diff && r.Action != publish.Unchanged { // if it cannot be printed, nor can the result
		before := render.Version(r.Previous)
		if r.Previous == 0 && r.Old == nil {
			before = "no version"
		}
		_ = s.showDiff(fmt.Sprintf("%s (%s)", r.Key, before), fmt.Sprintf("%s (version %d)", r.Key, r.Version),
			r.Old, r.New)
	}
	switch {
	case r.Action == publish.Unchanged && p.copied != "":
		s.place = observe.LocationSameStored
	case r.Action == publish.Unchanged:
		s.place = observe.LocationSameFile
	}
	if !r.Action.Wrote() {
		return
	}
	s.log.Info("published", "key", r.Key, "version", r.Version, "sha256", r.SHA256, "size", r.Size, "lines", r.Lines)
	s.metrics.Count("in", string(r.Key), observe.LocationComplete)
	s.metrics.Gauge("bytes", string(r.Key), observe.LocationComplete, int64(r.Stored))
	s.metrics.Gauge("lines", string(r.Key), observe.LocationComplete, int64(r.Lines))
	switch {
	case !s.events.Enabled():
	case p.copied != "":
		s.event(s.events.Copied(ctx, string(p.copied), string(r.Key)))
	default:
		s.event(s.events.Updated(ctx, s.layout.Data(r.Key), render.EventDiff(r.Old, r.New)))
	}
}

// notPublished reports a publish that failed to metrics and Datadog; people get the error.
func (s *session) notPublished(ctx context.Context, p publication, err error) {
	var stopped *gate.Stopped
	var refusal *gate.Refusal
	s.observeFailure(err, s.layout.Data(p.Key), observe.LocationSet)
	if errors.As(err, &stopped) {
		s.place = observe.LocationStopped
	}
	switch {
	case !s.events.Enabled():
	case stopped != nil:
		s.event(s.events.StopPresent(ctx, s.layout.Stop(p.Key), stopped.Reason))
	case errors.As(err, &refusal):
		text := refusal.Detail
		if bytes.IndexByte(p.Content, 0) < 0 { // 1.x sent it all; it is cut to what an event may hold
			text += "\n\n" + string(p.Content)
		}
		s.event(s.events.Refused(ctx, string(p.Key), s.place, text))
	}
}

// exec runs the exec of a command that installs no file.
func (s *session) exec(ctx context.Context, env ...string) (*execReport, error) {
	if len(s.argv) == 0 {
		return nil, nil
	}
	s.log.Debug("exec", "command", s.argv[0])
	ctx, done := s.interruptible(ctx)
	defer done()
	result, err := command.Run(ctx, command.Command{Argv: s.argv, Timeout: s.g.execTimeout, Env: env})
	if err != nil {
		err = &execError{err}
	}
	return reportExec(&result), err
}

// inReport is what in and copy print.
type inReport struct {
	publish.Result
	Exec   *execReport `json:"exec,omitempty"`
	Waited *waitReport `json:"wait,omitempty"`
	// Of a rollout: how it ended, or is; and in a dry run, which stages it would have.
	State  rollout.State `json:"state,omitempty"`
	Reason string        `json:"reason,omitempty"`
	Stages []stageReport `json:"stages,omitempty"`
	hint   string        // how to follow it
}

func (r inReport) lines() []string {
	text := fmt.Sprintf("published version %d", r.Version)
	switch r.Action {
	case publish.RollingOut, publish.Follows, publish.AbortsRollout, publish.WouldAbort,
		publish.WouldRollOut:
		return r.staged()
	case publish.Unchanged:
		text = fmt.Sprintf("unchanged; %s is live", render.Version(r.Version))
	case publish.WouldPublish:
		text = fmt.Sprintf("would publish version %d", r.Version)
	case publish.Healed:
		text = fmt.Sprintf("was damaged; published again as version %d", r.Version)
	}
	return r.with(text)
}

// with is the text with the content in a few words, and then the change and the wait.
func (r inReport) with(text string) []string {
	lines := []string{fmt.Sprintf("%s: %s (%s, %s, sha256 %s)", r.Key, text, render.Plural(r.Lines, "line"),
		render.Plural(r.Size, "byte"), render.Short(r.SHA256))}
	if r.Change != nil && r.Action == publish.WouldPublish {
		lines = append(lines, changeLines(r.Change)...)
	}
	if r.Waited != nil {
		lines = append(lines, r.Waited.lines()...)
	}
	return lines
}

// refused is the report for content that is refused because of its change; else nil.
func refused(err error) report {
	var r *gate.Refusal
	if !errors.As(err, &r) || r.Change == nil {
		return nil
	}
	return refusedReport{Key: r.Key, Change: r.Change}
}

type refusedReport struct {
	Key    kv.Key       `json:"key"`
	Change *gate.Change `json:"change"`
}

func (r refusedReport) lines() []string { return changeLines(r.Change) }

// changeLines show how content differs from the live version, with the first lost lines.
func changeLines(c *gate.Change) []string {
	lines := []string{fmt.Sprintf("  loses %d of %s, gains %d", c.Lost, render.Plural(c.Before, "line"), c.Gained)}
	for _, line := range c.Lines {
		lines = append(lines, "  - "+line)
	}
	if more := c.Lost - len(c.Lines); more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	return lines
}
