package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
)

func (s *session) freezer() hold.Freezer {
	return hold.Freezer{Recorder: s.recorder(), Host: s.host}
}

func (a *App) newStop(g *globals) *cobra.Command {
	var reason string
	var replace bool
	cmd := a.with(g, "stop", uses(needsKey, flagsStore, "hub", flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) {
			return s.stop(ctx, reason, replace)
		})
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` to stop")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown by stops, status and history")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the reason if the key is already stopped")
	return cmd
}

// stopAction is what stop or resume did.
type stopAction struct {
	Key    kv.Key    `json:"key"`
	Action string    `json:"action"`
	Reason string    `json:"reason,omitempty"` // of the stop
	Since  time.Time `json:"since,omitzero"`
}

func (s *session) stop(ctx context.Context, reason string, replace bool) (report, error) {
	if reason == "" {
		return nil, errors.New("the reason is missing; give it with -r")
	}
	k, f := s.k, s.actor(ctx, s.host)
	f.Replace = replace
	done, err := f.Stop(ctx, k, reason)
	if err != nil {
		s.observeFailure(err, s.layout.Stop(k), observe.LocationSet)
		return nil, err
	}
	if !done.Changed {
		return said{text: fmt.Sprintf("%s: already stopped for this reason", k),
			fields: stopAction{Key: k, Action: "unchanged", Reason: reason}}, nil
	}
	if !done.Exists {
		s.warn(fmt.Sprintf("there is no key %s yet; its first version will be stopped", k))
	}
	s.log.Info("stopped", "key", k, "reason", reason)
	if s.events.Enabled() {
		s.event(s.events.StopSet(ctx, s.layout.Stop(k), reason))
	}
	s.warnOfCandidate(ctx)
	_, err = s.exec(ctx)
	return said{
		text:   fmt.Sprintf("%s: stopped in the whole fleet; to undo: `kvexpress resume -k %[1]s`", k),
		fields: stopAction{k, "stopped", reason, s.started.UTC().Truncate(time.Second)},
	}, err
}

func (a *App) newResume(g *globals) *cobra.Command {
	var reason string
	cmd := a.with(g, "resume", uses(needsKey, flagsStore, flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.resume(ctx, reason) })
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` to resume")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown by history --events")
	return cmd
}

func (s *session) resume(ctx context.Context, reason string) (report, error) {
	k := s.k
	was, unwoken, err := s.actor(ctx, s.host).Resume(ctx, k, reason)
	if err != nil {
		s.observeFailure(err, s.layout.Stop(k), observe.LocationDelete)
		return nil, err
	}
	if unwoken {
		s.warn(fmt.Sprintf("this token cannot write the checksum of %s, so Consul watches run \"out\" only at the next publish; "+
			"`kvexpress acl operator -k %[1]s` prints the policy that resume needs", k))
	}
	if was == "" {
		return said{text: fmt.Sprintf("%s: was not stopped", k), fields: stopAction{Key: k, Action: "unchanged"}}, nil
	}
	s.log.Info("resumed", "key", k, "was", was)
	_, err = s.exec(ctx)
	return said{
		text:   fmt.Sprintf("%s: resumed; it was stopped: %s", k, was),
		fields: stopAction{Key: k, Action: "resumed", Reason: was},
	}, err
}

func (a *App) newStops(g *globals) *cobra.Command {
	return a.with(g, "stops", uses(flagsStore, "json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.stops(ctx) })
}

func (s *session) stops(ctx context.Context) (report, error) {
	stops, left, err := s.freezer().Stops(ctx)
	var part *hold.PartialError
	if errors.As(err, &part) {
		s.warn(fmt.Sprintf("this token cannot read all keys below %s; other keys may be stopped, too", part.Below))
	} else if err != nil {
		return nil, err
	}
	r := stopReport{Stops: append([]hold.Stop{}, stops...), Partial: part != nil, now: s.started}
	if len(left) > 0 {
		s.warn(leftOut(left))
		r.Partial = true
	}
	return r, nil
}

type stopReport struct {
	Stops   []hold.Stop `json:"stops"`
	Partial bool        `json:"partial"` // there may be more
	now     time.Time
}

func (r stopReport) lines() []string {
	switch {
	case len(r.Stops) == 0 && r.Partial:
		return []string{"no key that this token can read is stopped"}
	case len(r.Stops) == 0:
		return []string{"no key is stopped"}
	}
	rows := [][]string{{"KEY", "SET", "WHO", "REASON"}}
	for _, stop := range r.Stops {
		rows = append(rows, []string{string(stop.Key), render.Ago(stop.Since, r.now), cmp.Or(stop.Who, "unknown"), stop.Reason})
	}
	return render.Table(rows)
}
