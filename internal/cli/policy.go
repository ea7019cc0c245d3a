package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/config"
	"kvexpress/internal/gate"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/rollout"
)

func (a *App) newPolicy(g *globals) *cobra.Command {
	cmd := described("policy", "")
	cmd.Args, cmd.SuggestionsMinimumDistance = unknownCommand, 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(a.newPolicySet(g), a.newPolicyShow(g), a.newPolicyRemove(g))
	return cmd
}

func (a *App) newPolicySet(g *globals) *cobra.Command {
	var file, stages, reason string
	cmd := a.with(g, "policy set", uses(needsKey, flagsStore, "json verbose"),
		func(ctx context.Context, s *session) (report, error) {
			change, err := s.policyChange(ctx, file, stages)
			if err != nil {
				return nil, err
			}
			return s.setPolicy(ctx, change, reason)
		})
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` that the policy is for")
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` with the policy, in YAML; - is standard input")
	cmd.Flags().StringVar(&stages, "stages", "",
		"set the stages alone: a `list` of shares, numbers and labels, such as role=canary,10%,100%")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown in history --events")
	return cmd
}

func (a *App) newPolicyShow(g *globals) *cobra.Command {
	cmd := a.with(g, "policy show", uses(needsKey, flagsStore, "json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.showPolicy(ctx) })
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` that the policy is for")
	return cmd
}

func (a *App) newPolicyRemove(g *globals) *cobra.Command {
	var reason string
	cmd := a.with(g, "policy rm", uses(needsKey, flagsStore, "json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.removePolicy(ctx, reason) })
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` that the policy is for")
	cmd.Flags().StringVarP(&reason, "reason", "r", "", "`reason`, shown in history --events")
	return cmd
}

// policyChange makes a new policy of the current one. unread is why the current one is not known.
type policyChange func(now rollout.Policy, unread error) (rollout.Policy, error)

// policyChange is what a file or --stages asks for. A file replaces all, a policy that cannot be read included.
func (s *session) policyChange(ctx context.Context, file, stages string) (policyChange, error) {
	switch {
	case file == "" && stages == "":
		return nil, errors.New("there is no policy; give its file with -f, or its stages with --stages")
	case file != "" && stages != "":
		return nil, errors.New("-f and --stages do not go together; write the stages into the file")
	case stages != "":
		list, err := config.ParseStages("--stages", stages)
		return func(p rollout.Policy, unread error) (rollout.Policy, error) {
			if unread != nil {
				return p, unread
			}
			p.Stages = list
			return config.ParsePolicy("the policy with these stages", []byte(strings.Join(p.Lines(), "\n")))
		}, err
	}
	text, err := s.policyFile(ctx, file)
	if err != nil {
		return nil, err
	}
	if file == "-" {
		file = "standard input"
	}
	p, err := config.ParsePolicy(file, text)
	if err == nil && len(p.Lines()) == 0 {
		err = fmt.Errorf("%s has no rules; to remove the policy: `kvexpress policy rm -k %s`", file, s.k)
	}
	return func(rollout.Policy, error) (rollout.Policy, error) { return p, nil }, err
}

func (s *session) setPolicy(ctx context.Context, change policyChange, reason string) (report, error) {
	path, exists := s.layout.Policy(s.k), false
	var p rollout.Policy
	did, err := s.recorder().Do(ctx, s.policyEvent(ctx, hold.ActionSetPolicy, reason), []string{path, s.layout.Checksum(s.k)},
		func(rows kv.Snapshot) ([]kv.Op, error) {
			now := rows[path]
			exists = rows[s.layout.Checksum(s.k)].State != kv.Absent
			if now.State == kv.Denied {
				return nil, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
			}
			var err error
			if p, err = change(rollout.Parse(s.k, now)); err != nil {
				return nil, err
			}
			value, err := p.Marshal()
			if err != nil || now.State == kv.Present && bytes.Equal(now.Value, value) {
				return nil, err
			}
			return []kv.Op{{Verb: kv.CheckAndSet, Path: path, Value: value, Index: now.Index}}, nil
		})
	if err != nil {
		return nil, err
	}
	if !exists {
		s.warn(fmt.Sprintf("there is no key %s yet; the policy is for its first version", s.k))
	}
	r := policyReport{Key: s.k, Action: "unchanged", Policy: &p}
	if did {
		r.Action = "set"
		s.log.Info("policy set", "key", s.k, "reason", reason)
	}
	return r, nil
}

// policyFile reads the policy.
func (s *session) policyFile(ctx context.Context, file string) ([]byte, error) {
	if file != "-" {
		text, err := publish.ReadFile(ctx, file)
		if err == nil && len(text) > rollout.MaxPolicy {
			err = fmt.Errorf("%s has %d bytes; a policy has at most %d", file, len(text), rollout.MaxPolicy)
		}
		return text, err
	}
	text, err := io.ReadAll(io.LimitReader(s.Stdin, rollout.MaxPolicy+1))
	if err == nil && len(text) > rollout.MaxPolicy {
		err = fmt.Errorf("standard input has over %d bytes, the most of a policy", rollout.MaxPolicy)
	}
	return text, err
}

func (s *session) policyEvent(ctx context.Context, action, reason string) hold.Event {
	e := s.by(ctx)
	e.Action, e.Key, e.Reason = action, s.k, reason
	return e
}

func (s *session) showPolicy(ctx context.Context) (report, error) {
	path := s.layout.Policy(s.k)
	rows, err := s.store.Read(ctx, kv.Default, path, s.layout.Checksum(s.k))
	if err != nil {
		return nil, err
	}
	p, err := rollout.Parse(s.k, rows[path])
	switch {
	case err != nil:
		return nil, err
	case rows[path].State == kv.Present:
		return policyReport{Key: s.k, Policy: &p}, nil
	case rows[s.layout.Checksum(s.k)].State == kv.Absent:
		return nil, &gate.Missing{Name: string(s.k)}
	}
	return policyReport{Key: s.k}, nil
}

func (s *session) removePolicy(ctx context.Context, reason string) (report, error) {
	path := s.layout.Policy(s.k)
	did, err := s.recorder().Do(ctx, s.policyEvent(ctx, hold.ActionRemovePolicy, reason), []string{path},
		func(rows kv.Snapshot) ([]kv.Op, error) {
			switch rows[path].State {
			case kv.Denied:
				return nil, fmt.Errorf("read %s: %w", path, kv.ErrDenied)
			case kv.Absent:
				return nil, nil
			}
			return []kv.Op{{Verb: kv.Delete, Path: path}}, nil
		})
	if err != nil {
		return nil, err
	}
	r := policyReport{Key: s.k, Action: "unchanged"}
	if did {
		r.Action = "removed"
		s.log.Info("policy removed", "key", s.k, "reason", reason)
	}
	return r, nil
}

// policyReport is what the commands of policies print.
type policyReport struct {
	Key    kv.Key          `json:"key"`
	Action string          `json:"action,omitempty"` // set, removed, or unchanged
	Policy *rollout.Policy `json:"policy"`           // null: there is none
}

func (r policyReport) lines() []string {
	switch {
	case r.Action == "set":
		return []string{fmt.Sprintf("%s: the policy is set, and counts for the next publish", r.Key)}
	case r.Action == "removed":
		return []string{fmt.Sprintf("%s: the policy is removed", r.Key)}
	case r.Action == "unchanged" && r.Policy != nil:
		return []string{fmt.Sprintf("%s: unchanged; it has this policy", r.Key)}
	case r.Policy == nil:
		return []string{fmt.Sprintf("%s has no policy", r.Key)}
	}
	return append([]string{fmt.Sprintf("# the policy of %s", r.Key)}, r.Policy.Lines()...)
}
