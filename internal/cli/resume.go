package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/observe"
)

func (a *App) newResume(g *globals) *cobra.Command {
	cmd := a.with(g, "resume", uses(needsKey, flagsStore, flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.resume(ctx) })
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` to resume")
	return cmd
}

func (s *session) resume(ctx context.Context) (report, error) {
	k := s.k
	was, unwoken, err := s.actor(ctx, s.host).Resume(ctx, k)
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
