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
	cmd := a.with(g, "unlock", uses(flagsStore, flagsReport), func(ctx context.Context, s *session) (report, error) {
		return s.unlock(ctx, file, node.name)
	})
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to unlock")
	cmd.Flags().Var(&node, "node", "`name` of the node or its host (default: this machine)")
	return cmd
}

func (s *session) unlock(ctx context.Context, name, node string) (report, error) {
	at, err := s.nodeFile(name, node)
	if err != nil {
		return nil, err
	}
	names := []string{at.node}
	if !at.here {
		if at, _, err = s.nodeFileByReceipt(name, node, s.reported(ctx)); err != nil {
			return nil, err
		}
		names = slices.Compact([]string{node, at.node}) // the lock may have either name
	}
	s.about = at.file
	was := ""
	for _, host := range names {
		freezer := s.actor(ctx, host)
		freezer.By.Key = s.keyOf(ctx, host, at.file)
		for _, path := range at.files() {
			reason, err := freezer.Unlock(ctx, path)
			if err != nil {
				s.observeFailure(err, s.layout.Lock(path, host), observe.LocationDelete)
				return nil, err
			}
			was = cmp.Or(was, reason)
		}
	}
	if at.here {
		for _, path := range at.files() {
			if err := hold.RemoveMarker(path); err != nil {
				s.warn(fmt.Sprintf("%s could not be removed: %s", hold.Marker(path), render.Error(err)))
			}
		}
	}
	fields := lockAction{File: at.file, Node: at.node, Action: "unchanged"}
	if was == "" {
		return said{text: fmt.Sprintf("%s: was not locked %s", at.file, at.on()), fields: fields}, nil
	}
	s.log.Info("unlocked", "file", at.file, "node", at.node, "was", was)
	s.metrics.Count("unlock", s.layout.Lock(at.file, at.node), observe.LocationComplete)
	fields.Action, fields.Reason = "unlocked", was
	return said{text: fmt.Sprintf("%s: unlocked %s; it was locked: %s", at.file, at.on(), was), fields: fields}, nil
}
