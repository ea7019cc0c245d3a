package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
)

// stagedFlags are those of commands that publish new content, for keys whose policy has stages.
type stagedFlags struct{ now, retry, detach bool }

func (f *stagedFlags) register(fl *pflag.FlagSet) {
	fl.BoolVar(&f.now, "now", false, "publish to all nodes at once, past the stages of the policy; needs -m")
	fl.BoolVar(&f.retry, "retry", false, "publish content again although its rollout was withdrawn")
	fl.BoolVar(&f.detach, "detach", false, "do not wait for the end of the rollout")
}

// stageReport is a stage that a rollout would have.
type stageReport struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"` // with those of the stages before
}

// begins is asked before a rollout begins: can it, and what does it supersede?
func (s *session) begins(p publication, r *inReport) func(context.Context, rollout.Plan, *rollout.Row) error {
	waited := ""
	return func(ctx context.Context, plan rollout.Plan, open *rollout.Row) error {
		if len(s.hubs) == 0 {
			return fmt.Errorf("%s: its policy has stages, and a rollout needs a hub; name one with --hub, or publish to all nodes at "+
				"once with --now -m WHY", p.Key)
		}
		source := rolloutSource{s: s, k: p.Key}
		preview, err := source.preview(ctx)
		if err != nil {
			return err
		}
		if len(preview.Problems) > 0 {
			return fmt.Errorf("%s: no rollout can begin: %s", p.Key, strings.Join(preview.Problems, "; "))
		}
		r.Stages = nil
		for i, n := range preview.Stages[:min(len(preview.Stages), len(plan.Stages))] {
			r.Stages = append(r.Stages, stageReport{Name: plan.Stages[i].Name(), Nodes: n})
		}
		for _, left := range preview.Left {
			s.log.Info("node is not counted", "key", p.Key, "node", left.Node, "why", left.Why)
		}
		if preview.LeftN > 0 {
			s.warn(fmt.Sprintf("%s: %s will not be counted: %s", p.Key, render.Plural(preview.LeftN, "node"), notCounted(preview.Left)))
		}
		if open == nil || open.ID == waited || p.DryRun {
			return nil
		}
		waited = open.ID
		s.warn(fmt.Sprintf("%s: version %d is being rolled out; waiting for the end of its stage", p.Key, open.Version))
		return s.stageEnds(ctx, source, *open)
	}
}

func notCounted(all []rollout.LeftOut) string {
	var names []string
	for _, l := range all {
		names = append(names, fmt.Sprintf("%s (%s)", l.Node, l.Why))
	}
	return someOf(names)
}

// stageEnds waits until the stage of an open rollout has ended, then the caller reads the key again.
func (s *session) stageEnds(ctx context.Context, source rolloutSource, open rollout.Row) error {
	for {
		v, err := source.next(ctx)
		switch {
		case err != nil:
			return err
		case v.Row == nil || v.Row.ID != open.ID || v.Row.Stage > open.Stage || v.Row.State.Ended(),
			v.Row.State == rollout.Paused || v.Row.State == rollout.Halted:
			return publish.ErrReadAgain
		}
	}
}

// rollsOut leaves the event of what was done, and follows the rollout.
func (s *session) rollsOut(ctx context.Context, p publication, r *inReport) error {
	e := s.by(ctx)
	e.Key, e.Reason = p.Key, p.Message
	switch r.Action {
	case publish.RollingOut:
		s.log.Info("rollout began", "key", p.Key, "version", r.Version, "rollout", r.Rollout, "sha256", r.SHA256)
		e.Action, e.Version = hold.ActionRollout, r.Version
	case publish.AbortsRollout:
		s.log.Info("rollout aborted", "key", p.Key, "rollout", r.Rollout)
		e.Action, e.Reason = hold.ActionAbort, "the current version was published again"
	}
	if e.Action != "" {
		if err := s.recorder().Leave(ctx, e); err != nil {
			s.recorder().Lost(err)
		}
	}
	switch {
	case r.Action == publish.AbortsRollout || r.Action == publish.Unchanged:
		r.State = rollout.Reverting
		return nil
	case p.staged.detach:
		r.State, r.hint = rollout.Running, s.guide().Typed(followIt(p.Key))
		if len(s.argv) > 0 || p.wait.asked() {
			s.warn("with --detach, -e and --wait have no effect on a rollout")
		}
		return nil
	}
	if len(s.hubs) == 0 { // it follows one that began elsewhere
		s.warn("only a hub knows the numbers of nodes; name it with --hub")
	}
	v, err := s.follow(ctx, p.Key, r.Rollout)
	var ended *rolloutError
	switch {
	case errors.As(err, &ended):
		r.State, r.Reason = ended.row.State, ended.row.Reason
	case v.Row != nil:
		r.State, r.Reason = v.Row.State, v.Row.Reason
	}
	for i := range r.Stages {
		if i < len(v.Stages) && v.Stages[i].Nodes > 0 {
			r.Stages[i].Nodes = v.Stages[i].Nodes
		}
	}
	return err
}

// staged is the report on a publish that has to do with a rollout.
func (r inReport) staged() []string {
	switch {
	case r.Action == publish.WouldRollOut:
		lines := r.with(fmt.Sprintf("would roll out version %d", r.Version))
		for i, stage := range r.Stages {
			lines = append(lines, render.Line(fmt.Sprintf("  stage %d %s: %s", i+1, stage.Name, render.Plural(stage.Nodes, "node"))))
		}
		return lines
	case r.Action == publish.AbortsRollout:
		return r.with(fmt.Sprintf("unchanged; %s is live, and the open rollout is aborted", render.Version(r.Version)))
	case r.Action == publish.WouldAbort:
		return r.with(fmt.Sprintf("unchanged; %s is live, and would abort the open rollout", render.Version(r.Version)))
	case r.State == rollout.Promoted:
		return r.with(fmt.Sprintf("rolled out version %d", r.Version))
	case r.State == rollout.Running && r.Action == publish.Follows:
		return append(r.with(fmt.Sprintf("version %d with this content is being rolled out already", r.Version)), "  "+r.hint)
	case r.State == rollout.Running:
		return append(r.with(fmt.Sprintf("version %d is being rolled out", r.Version)), "  "+r.hint)
	}
	return nil // the error says it
}

func followIt(k kv.Key) string {
	return fmt.Sprintf("`kvexpress rollout status -k %s --follow` follows it", k)
}
