package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
	"kvexpress/internal/publish"
)

type rollbackFlags struct {
	publishFlags
	to string
}

func (a *App) newRollback(g *globals) *cobra.Command {
	var f rollbackFlags
	cmd := a.with(g, "rollback", uses(needsKey, flagsStore, "hub length", flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.rollback(ctx, f) })
	f.register(cmd.Flags(), g, "`key` to roll back")
	cmd.Flags().StringVar(&f.to, "to", "", "`version` to publish again (default: the one before the live version)")
	return cmd
}

func (s *session) rollback(ctx context.Context, f rollbackFlags) (report, error) {
	p, err := s.publication(f.publishFlags)
	if err != nil {
		return nil, err
	}
	to := uint64(0)
	if f.to != "" {
		if to, err = parseKept("--to", f.to); err != nil {
			return nil, err
		}
	}
	if to, err = s.publisher().GoBack(ctx, &p.Request, to); err != nil {
		s.observeFailure(err, s.layout.Data(p.Key), observe.LocationSet)
		return nil, err
	}
	p.Message = rollbackMessage(f.message, to)
	e := s.by(ctx)
	e.Action, e.Key, e.Reason = hold.ActionRollback, p.Key, p.Message
	p.Event = &e
	r, err := s.publish(ctx, p)
	if r == nil {
		return nil, err
	}
	return rollbackReport{inReport: *r, To: to, From: r.Previous}, err
}

// rollbackMessage is the reason that history shows: the user's words, and which version it is
// if there is room.
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
	From uint64 `json:"from,omitempty"` // the version that was live before; 0: an unmanaged one, or none
	To   uint64 `json:"to"`             // the version whose content it is
}

func (r rollbackReport) lines() []string {
	from := ""
	if r.From > 0 || r.Old != nil {
		from = " from " + render.Version(r.From)
	}
	text := fmt.Sprintf("rolled back%s to version %d, published again as version %d", from, r.To, r.Version)
	switch r.Action {
	case publish.Unchanged:
		text = fmt.Sprintf("unchanged; %s is live and has the content of version %d", render.Version(r.Version), r.To)
		if r.Version == r.To {
			text = fmt.Sprintf("unchanged; version %d is live", r.To)
		}
	case publish.WouldPublish:
		text = "would roll back" + strings.TrimPrefix(text, "rolled back")
	case publish.Healed:
		text = fmt.Sprintf("was damaged; version %d is published again as version %d", r.To, r.Version)
	}
	return r.with(text)
}
