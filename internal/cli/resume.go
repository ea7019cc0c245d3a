package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/observe"
)

func (a *App) newResume(g *globals) *cobra.Command {
	var name string
	cmd := a.with(g, &cobra.Command{
		Use:   "resume -k KEY",
		Short: "End the stop of a key",
		Long: `End the stop of a key: publishing and installing continue.

The command also rewrites the checksum, so that Consul watches on it run "out" again.
It does so for a key that is not stopped, too: nodes that missed the end of a stop
catch up.`,
		Example:     `  kvexpress resume -k hosts`,
		Annotations: uses(flagsStore, flagsExec, flagsReport),
	}, func(ctx context.Context, s *session, _ []string) (report, error) { return s.resume(ctx, name) })
	cmd.Flags().StringVarP(&name, "key", "k", "", "`key` to resume")
	return cmd
}

func (s *session) resume(ctx context.Context, name string) (report, error) {
	k, err := s.key(name)
	if err != nil {
		return nil, err
	}
	argv, err := s.execArgv()
	if err != nil {
		return nil, err
	}
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
		return said{text: fmt.Sprintf("%s: was not stopped", k), fields: map[string]any{"key": k, "action": "unchanged"}}, nil
	}
	s.log.Info("resumed", "key", k, "was", was)
	_, err = s.exec(ctx, argv)
	return said{
		text:   fmt.Sprintf("%s: resumed; it was stopped: %s", k, was),
		fields: map[string]any{"key": k, "action": "resumed", "reason": was},
	}, err
}
