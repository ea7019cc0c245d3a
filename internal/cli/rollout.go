package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
)

func (a *App) newRollout(g *globals) *cobra.Command {
	cmd := described("rollout", "")
	cmd.Args, cmd.SuggestionsMinimumDistance = unknownCommand, 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(a.newRolloutStatus(g), a.newRolloutHistory(g), a.newRolloutPromote(g),
		a.newRolloutOrder(g, "pause", order{hold.ActionPause, "paused", rollout.Row.Pause}),
		a.newRolloutOrder(g, "resume", order{hold.ActionGoOn, "resumed",
			func(r rollout.Row, _ string) (rollout.Row, error) { return r.Resume() }}),
		a.newRolloutOrder(g, "abort", order{hold.ActionAbort, "aborted; its nodes go back to the live version", rollout.Row.Abort}))
	return cmd
}

func (a *App) newRolloutStatus(g *globals) *cobra.Command {
	var follow bool
	cmd := a.with(g, "rollout status", uses(needsKey, flagsStore, "hub json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.rolloutStatus(ctx, follow) })
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` whose rollout is shown")
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for the end of the rollout")
	return cmd
}

func (s *session) rolloutStatus(ctx context.Context, follow bool) (report, error) {
	source := rolloutSource{s: s, k: s.k}
	v, err := source.next(ctx)
	switch {
	case err != nil:
		return nil, err
	case v.Row == nil:
		return nil, &publish.NoRollout{Key: s.k}
	case follow:
		if v, err = s.follow(ctx, s.k, v.Row.ID); v.Row == nil {
			return nil, err
		}
	}
	r := rolloutOf(s.k, v)
	r.now = time.Now()
	return r, err
}

func (a *App) newRolloutHistory(g *globals) *cobra.Command {
	cmd := a.with(g, "rollout history", uses(needsKey, flagsStore, "json verbose"),
		func(ctx context.Context, s *session) (report, error) {
			r, err := s.eventsOf(ctx, string(s.k), 0)
			if events, ok := r.(eventReport); ok && err == nil {
				events.Events = slices.DeleteFunc(events.Events, func(e hold.Event) bool {
					return !strings.Contains(rolloutActions, e.Action)
				})
				r = events
			}
			return r, err
		})
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` whose rollouts are shown")
	return cmd
}

// rolloutActions are the actions on rollouts.
const rolloutActions = hold.ActionRollout + " " + hold.ActionPause + " " + hold.ActionGoOn + " " + hold.ActionPromote + " " +
	hold.ActionAbort + " " + hold.ActionHalted + " " + hold.ActionPromoted + " " + hold.ActionReverted + " " +
	hold.ActionAborted + " " + hold.ActionReplaced

func (a *App) newRolloutPromote(g *globals) *cobra.Command {
	var all bool
	cmd := a.newRolloutOrder(g, "promote", order{hold.ActionPromote, "the next stage may begin",
		func(r rollout.Row, _ string) (rollout.Row, error) { return r.Promote(all) }})
	cmd.Flags().BoolVar(&all, "all", false, "skip all stages that are left, with their bakes and gates")
	return cmd
}

// order is what an operator does to a rollout.
type order struct {
	action string // of the event
	done   string // for people
	change func(rollout.Row, string) (rollout.Row, error)
}

func (a *App) newRolloutOrder(g *globals, name string, o order) *cobra.Command {
	var reason string
	cmd := a.with(g, "rollout "+name, uses(needsKey, flagsStore, "json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.orderRollout(ctx, o, reason) })
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` whose rollout it is")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown in status and history --events")
	return cmd
}

// orderRollout changes the row of a rollout. Its controller follows it.
func (s *session) orderRollout(ctx context.Context, o order, reason string) (report, error) {
	e, k := s.by(ctx), s.k
	e.Action, e.Key, e.Reason = o.action, k, reason
	next, err := publish.Order(ctx, s.recorder(), e, o.change)
	if err != nil {
		return nil, err
	}
	s.log.Info("rollout", "action", o.action, "key", k, "version", next.Version, "rollout", next.ID, "reason", reason)
	return said{text: fmt.Sprintf("%s: the rollout of version %d: %s; %s", k, next.Version, o.done, followIt(k)),
		fields: orderReport{Key: k, Action: o.action, Rollout: next.ID, Version: next.Version, State: next.State, Reason: reason}}, nil
}

// orderReport is what an order printed as JSON has.
type orderReport struct {
	Key     kv.Key        `json:"key"`
	Action  string        `json:"action"`
	Rollout string        `json:"rollout"`
	Version uint64        `json:"version"`
	State   rollout.State `json:"state"`
	Reason  string        `json:"reason,omitempty"`
}

// warnOfCandidate names the nodes that have the candidate of an open rollout: a stop leaves it there. What cannot be read is left
// out: the stop counts.
func (s *session) warnOfCandidate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, receiptLimit)
	defer cancel()
	source := rolloutSource{s: s, k: s.k}
	v, err := source.next(ctx)
	s.debug("the rollout was not read", err)
	if err != nil || v.Row == nil || v.Row.State.Ended() {
		return
	}
	on := render.Plural(v.Row.Admitted, "node") + " may have it"
	if len(v.On) > 0 {
		on = "on " + someOf(v.On)
	}
	s.warn(fmt.Sprintf("%s: the rollout of version %d is frozen, too: %s; `kvexpress rollout abort -k %[1]s` and then `kvexpress "+
		"resume -k %[1]s` bring the live version back", s.k, v.Row.Version, on))
}
