package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

type rollbackFlags struct {
	publishFlags
	to string
}

func (a *App) newRollback(g *globals) *cobra.Command {
	var f rollbackFlags
	cmd := a.with(g, &cobra.Command{
		Use:   "rollback -k KEY",
		Short: "Publish a past version again",
		Long: `Publish the content of a past version again, as a new version, for every node to
install. The gates are those of "in".

Without --to it is the newest kept version before the live one that has other
content; if somebody publishes meanwhile, nothing is done, and the exit code is 10.
With --to it is published on top of whatever stands.`,
		Example: `  kvexpress rollback -k hosts --dry-run --diff
  kvexpress rollback -k hosts -m 'bad upstream data'
  kvexpress rollback -k hosts --to 12 --ignore-stop`,
		Annotations: uses(flagsStore, "length", flagsExec, flagsReport),
	}, func(ctx context.Context, s *session, _ []string) (report, error) { return s.rollback(ctx, f) })
	f.register(cmd.Flags(), "`key` to roll back")
	cmd.Flags().StringVar(&f.to, "to", "", "`version` to publish again (default: the one before the live version)")
	return cmd
}

func (s *session) rollback(ctx context.Context, f rollbackFlags) (report, error) {
	req, argv, err := s.request(f.publishFlags)
	if err != nil {
		return nil, err
	}
	to := uint64(0)
	if f.to != "" {
		if to, err = parseKept("--to", f.to); err != nil {
			return nil, err
		}
	}
	if to, err = s.choose(ctx, &req, to); err != nil {
		s.observeFailure(err, s.layout.Data(req.Key), observe.LocationSet)
		return nil, err
	}
	req.Message = rollbackMessage(f.message, to)
	e := s.by(ctx)
	e.Action, e.Key, e.Reason = hold.ActionRollback, req.Key, req.Message
	req.Event = &e
	r, err := s.publish(ctx, req, argv, f.diff, "")
	if f.to == "" && f.ifVersion == "" && as[*publish.Conflict](err) {
		err = fmt.Errorf("%s: somebody changed it after the rollback had looked at %s, so nothing was done (%w); see `kvexpress "+
			"history -k %[1]s`, then run it again, or name a version with --to",
			req.Key, render.Version(*req.IfVersion), kv.ErrConflict)
	}
	if r == nil {
		return nil, err
	}
	if !r.event && (r.Outcome == publish.Published || r.Outcome == publish.Healed) {
		e.Version = r.Version
		if lost := s.recorder().Leave(ctx, e); lost != nil {
			s.recorder().Lost(lost)
		}
	}
	if err == nil {
		err = s.published(ctx, r, f.wait)
	}
	return rollbackReport{inReport: *r, To: to, From: r.previous}, err
}

// choose fills in the content of the version to go back to, and returns its number.
// Without one it is the one before the live one, and what stands is pinned: nobody's
// publish is to be undone unseen.
func (s *session) choose(ctx context.Context, req *publish.Request, to uint64) (uint64, error) {
	r := s.versions()
	if to == 0 {
		l, err := r.List(ctx, req.Key)
		if err != nil {
			return 0, err
		}
		if l.Incomplete {
			return 0, &publish.Conflict{Key: req.Key, Attempts: record.MaxLists}
		}
		before, err := l.Before(true)
		if err != nil {
			return 0, err
		}
		live, _ := l.Live()
		if req.IfVersion == nil {
			req.IfVersion = &live.Number
		} else if *req.IfVersion != live.Number {
			return 0, &publish.Conflict{Key: req.Key, IfVersion: req.IfVersion, Current: &live.Number}
		}
		if l.State != record.Damaged {
			req.IfSHA256 = l.SHA256
		}
		to = before.Number
	}
	all, err := r.Read(ctx, req.Key, to)
	if err != nil {
		return 0, err
	}
	req.Content = all[0].Plain
	if req.Encoding, err = record.ParseEncoding(string(all[0].Encoding)); err != nil { // a newer one
		req.Encoding = record.Plain
	}
	return to, nil
}

// rollbackMessage tells others which version it is, beside the user's own words if
// there is room.
func rollbackMessage(text string, to uint64) string {
	what := fmt.Sprintf("rollback to version %d", to)
	if text == "" {
		return what
	}
	if both := fmt.Sprintf("%s (%s)", text, what); len(both) <= kv.MaxMessage {
		return both
	}
	return text
}

type rollbackReport struct {
	inReport
	From uint64 `json:"from,omitempty"` // the version that stood; 0: an unmanaged one, or none
	To   uint64 `json:"to"`             // the version whose content it is
}

func (r rollbackReport) lines() []string {
	from := ""
	if r.previous > 0 || r.stood {
		from = " from " + render.Version(r.previous)
	}
	text := fmt.Sprintf("rolled back%s to version %d, published again as version %d", from, r.To, r.Version)
	switch r.Outcome {
	case publish.Unchanged:
		text = fmt.Sprintf("unchanged, %s stands and has the content of version %d", render.Version(r.Version), r.To)
		if r.Version == r.To {
			text = fmt.Sprintf("unchanged, version %d stands", r.To)
		}
	case publish.WouldPublish:
		text = fmt.Sprintf("would roll back%s to version %d, published again as version %d", from, r.To, r.Version)
	case publish.Healed:
		text = fmt.Sprintf("was damaged, version %d is published again as version %d", r.To, r.Version)
	}
	lines := []string{fmt.Sprintf("%s: %s (%s)", r.Key, text, r.what())}
	if r.Waited != nil {
		lines = append(lines, r.Waited.lines()...)
	}
	return lines
}
