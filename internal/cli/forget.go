package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hold"
	"kvexpress/internal/kv"
)

func (a *App) newForget(g *globals) *cobra.Command {
	var file string
	cmd := a.with(g, "forget", uses(flagsStore, "json verbose"), func(ctx context.Context, s *session) (report, error) {
		if len(s.args) != 1 {
			return nil, errors.New("name one node, as `kvexpress status` shows it")
		}
		return s.forget(ctx, s.args[0], file)
	})
	cmd.Args = cobra.ArbitraryArgs
	cmd.Flags().StringVarP(&file, "file", "f", "", "forget only this `file`, by its absolute path on the node")
	return cmd
}

func (s *session) forget(ctx context.Context, node, file string) (report, error) {
	// Any name that has a receipt can be forgotten, also an invalid one.
	if node == "" || strings.Contains(node, "/") {
		if _, err := kv.ParseNode(node); err != nil {
			return nil, err
		}
	}
	what, e := render.Line(node), s.by(ctx)
	e.Action, e.Node = hold.ActionForget, node
	if file != "" {
		if !filepath.IsAbs(file) {
			return nil, fmt.Errorf("%s is not an absolute path; use the path that `kvexpress status` shows", kv.Quote(file))
		}
		what, e.File, e.Key = render.Line(node+" "+file), file, s.keyOf(ctx, node, file)
	}
	path := s.layout.Node(node)
	was, err := s.recorder().Do(ctx, e, []string{path}, func(rows kv.Snapshot) ([]kv.Op, error) {
		if file == "" {
			return fleet.Forget(s.layout, node, rows[path])
		}
		return fleet.Drop(s.layout, node, rows[path], func(t fleet.Target) bool { return t.File == file })
	})
	if err != nil {
		return nil, err
	}
	action, text := "forgotten", what+": forgotten"
	if !was {
		action, text = "unchanged", what+": has no receipt"
		if file != "" {
			text = what + ": not in the receipt of this node"
		}
	}
	s.log.Info("forget", "node", node, "file", file, "action", action)
	return said{text: text, fields: forgetAction{node, action, file}}, nil
}

// forgetAction is what forget did.
type forgetAction struct {
	Node   string `json:"node"`
	Action string `json:"action"`
	File   string `json:"file,omitempty"`
}
