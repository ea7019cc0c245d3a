package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/fleet"
	"kvexpress/internal/kv"
)

func (a *App) newForget(g *globals) *cobra.Command {
	return a.with(g, &cobra.Command{
		Use:   "forget NODE",
		Short: "Drop the receipt of a node that is no more",
		Long: `Drop the receipt of a node that is no more, so that it does not count for "status".

A node that is alive comes back with its next receipt.`,
		Example:     `  kvexpress forget web-17`,
		Args:        cobra.ArbitraryArgs,
		Annotations: uses(flagsStore, "json verbose"),
	}, func(ctx context.Context, s *session, args []string) (report, error) {
		if len(args) != 1 {
			return nil, errors.New("name one node, as `kvexpress status` shows it")
		}
		return s.forget(ctx, args[0])
	})
}

func (s *session) forget(ctx context.Context, name string) (report, error) {
	// Whatever has a receipt can be forgotten, under whatever name it stands.
	if name == "" || strings.Contains(name, "/") {
		if _, err := kv.ParseNode(name); err != nil {
			return nil, err
		}
	}
	was, err := fleet.Forget(ctx, s.store, s.layout, name)
	if err != nil {
		return nil, err
	}
	outcome, text := "forgotten", fmt.Sprintf("%s: forgotten", printable(name))
	if !was {
		outcome, text = "unknown", fmt.Sprintf("%s: has no receipt", printable(name))
	}
	s.log.Info("forget", "node", name, "outcome", outcome)
	return said{text: text, fields: map[string]any{"node": name, "outcome": outcome}}, nil
}
