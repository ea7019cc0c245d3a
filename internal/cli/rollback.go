package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/observe"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
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
	if r, err := s.abortInstead(ctx, p, to); r != nil || err != nil {
		return r, err
	}
	if to, err = s.publisher().GoBack(ctx, &p.Request, to); err != nil {
		s.observeFailure(err, s.layout.Data(p.Key), observe.LocationSet)
		return nil, err
	}
	p.Message = publish.RollbackMessage(f.message, to)
	e := s.by(ctx)
	e.Action, e.Key, e.Reason = hold.ActionRollback, p.Key, p.Message
	p.Event = &e
	r, err := s.publish(ctx, p)
	if r == nil {
		return nil, err
	}
	return rollbackReport{inReport: *r, To: to, From: r.Previous}, err
}

// abortInstead aborts the open rollout if no version is named: that goes back to the live version. Without one, it does nothing.
func (s *session) abortInstead(ctx context.Context, p publication, to uint64) (report, error) {
	if to > 0 {
		return nil, nil
	}
	row, _, err := s.rolloutRow(ctx, p.Key)
	if errors.Is(err, kv.ErrDenied) {
		return nil, nil // a token from before rollouts
	}
	if err != nil || row == nil || row.State.Ended() {
		return nil, err
	}
	if p.IfVersion != nil {
		return nil, &publish.Conflict{Key: p.Key, IfVersion: p.IfVersion, Candidate: row.Version}
	}
	r := inReport{Result: publish.Result{Key: p.Key, Action: publish.WouldAbort, Version: row.Base.Version, SHA256: row.Base.SHA256,
		Rollout: row.ID}, State: row.State}
	switch {
	case row.State == rollout.Reverting: // again: the live version stays
		r.Action = publish.AbortsRollout
	case !p.DryRun:
		r.Action, r.State = publish.AbortsRollout, rollout.Reverting
		if _, err := s.orderRollout(ctx, order{hold.ActionAbort, "", rollout.Row.Abort}, p.Message); err != nil {
			return nil, err
		}
	}
	return rollbackReport{inReport: r, From: row.Version, To: row.Base.Version}, nil
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
	case publish.AbortsRollout:
		return []string{fmt.Sprintf("%s: the rollout of version %d is aborted; nodes go back to the live version; %s", r.Key, r.From,
			followIt(r.Key))}
	case publish.WouldAbort:
		return []string{fmt.Sprintf("%s: would abort the rollout of version %d", r.Key, r.From)}
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
