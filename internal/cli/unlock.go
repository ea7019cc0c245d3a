package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/deliver"
	"kvexpress/internal/freeze"
	"kvexpress/internal/observe"
)

func (a *App) newUnlock(g *globals) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:         "unlock -f FILE",
		Short:       "Lift the lock of a file on this node",
		Long:        `Lift the lock of a file on this node, and remove FILE.locked.`,
		Example:     `  kvexpress unlock -f /etc/hosts.consul`,
		Args:        noArgs,
		Annotations: uses(flagsStore, flagsReport),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.do(cmd, g, func(ctx context.Context, s *session) (report, error) { return s.unlock(ctx, file) })
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to unlock")
	return cmd
}

func (s *session) unlock(ctx context.Context, name string) (report, error) {
	file, err := deliver.ParseFile(name)
	if err != nil {
		return nil, err
	}
	s.about = file
	was, err := s.freezer().Unlock(ctx, file)
	if err != nil {
		s.observeFailure(err, s.layout.Lock(file, s.host), observe.LocationDelete)
		return nil, err
	}
	if err := freeze.RemoveMarker(file); err != nil {
		s.warn(fmt.Sprintf("%s could not be removed: %s", freeze.Marker(file), oneLine(err)))
	}
	if was == "" {
		return said{text: fmt.Sprintf("%s: was not locked on this node", file), fields: map[string]any{"file": file, "outcome": "unchanged"}}, nil
	}
	s.log.Info("unlocked", "file", file, "was", was)
	s.metrics.Unlock(s.layout.Lock(file, s.host))
	return said{
		text:   fmt.Sprintf("%s: unlocked; it was locked: %s", file, was),
		fields: map[string]any{"file": file, "outcome": "unlocked", "reason": was},
	}, nil
}
