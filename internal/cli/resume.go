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
		Long: `Lift the stop of a key: publishing and installing go on.

The checksum is written anew, so that Consul watches on it run "out" again. That is so
for a key that is not stopped, too: nodes that missed the end of a stop catch up.`,
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
	was, asleep, err := s.actor(ctx, s.host).Resume(ctx, k)
	if err != nil {
		s.observeFailure(err, s.layout.Stop(k), observe.LocationDelete)
		return nil, err
	}
	if asleep {
		s.warn(fmt.Sprintf("this token may not write the checksum of %s: Consul watches on it run again at the next publish, or "+
			"after a resume with the policy of `kvexpress acl operator -k %[1]s`", k))
	}
	if was == "" {
		return said{text: fmt.Sprintf("%s: was not stopped", k), fields: map[string]any{"key": k, "outcome": "unchanged"}}, nil
	}
	s.log.Info("resumed", "key", k, "was", was)
	_, err = s.exec(ctx, argv)
	return said{
		text:   fmt.Sprintf("%s: resumed; it was stopped: %s", k, was),
		fields: map[string]any{"key": k, "outcome": "resumed", "reason": was},
	}, err
}
