package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/hold"
	"kvexpress/internal/observe"
)

func (a *App) newUnlock(g *globals) *cobra.Command {
	var file string
	var node nodeValue
	cmd := a.with(g, &cobra.Command{
		Use:   "unlock -f FILE",
		Short: "End the lock of a file",
		Long: `Lift the lock of a file on this node, and remove FILE.locked; or, with --node, on
another node, where FILE.locked stays if it is there.`,
		Example: `  kvexpress unlock -f /etc/hosts.consul
  kvexpress unlock -f /etc/hosts.consul --node web-17`,
		Annotations: uses(flagsStore, flagsReport),
	}, func(ctx context.Context, s *session, _ []string) (report, error) {
		return s.unlock(ctx, file, node.name)
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to unlock")
	cmd.Flags().Var(&node, "node", "`name` of the node or its host (default: this machine)")
	return cmd
}

func (s *session) unlock(ctx context.Context, name, node string) (report, error) {
	at, err := s.spotOf(name, node)
	if err != nil {
		return nil, err
	}
	file, names := at.file, []string{at.node}
	s.about = file
	if !at.here {
		if _, err := at.onHost(s, s.reported(ctx)); err != nil {
			return nil, err
		}
		names = slices.Compact([]string{node, at.node}) // it may have been locked by either
		if at.here {
			if at, err = s.spotOf(name, ""); err != nil {
				return nil, err
			}
		}
	}
	was := ""
	for _, host := range names {
		f := s.actor(ctx, host)
		f.By.Key = s.keyOf(ctx, host, file)
		for _, path := range at.files() {
			reason, err := f.Unlock(ctx, path)
			if err != nil {
				s.observeFailure(err, s.layout.Lock(path, host), observe.LocationDelete)
				return nil, err
			}
			was = cmp.Or(was, reason)
		}
	}
	for _, path := range at.files() {
		if !at.here {
			break
		}
		if err := hold.RemoveMarker(path); err != nil {
			s.warn(fmt.Sprintf("%s could not be removed: %s", hold.Marker(path), render.Error(err)))
		}
	}
	if was == "" {
		return said{
			text:   fmt.Sprintf("%s: was not locked %s", file, at.on()),
			fields: map[string]any{"file": file, "node": at.node, "outcome": "unchanged"},
		}, nil
	}
	s.log.Info("unlocked", at.logged("was", was)...)
	s.metrics.Count("unlock", s.layout.Lock(file, at.node), observe.LocationComplete)
	text := "unlocked"
	if !at.here {
		text += " " + at.on()
	}
	return said{
		text:   fmt.Sprintf("%s: %s; it was locked: %s", file, text, was),
		fields: map[string]any{"file": file, "node": at.node, "outcome": "unlocked", "reason": was},
	}, nil
}
