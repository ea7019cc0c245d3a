package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/gate"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

func (a *App) newCopy(g *globals) *cobra.Command {
	var from, to, message string
	var limits gate.Limits
	var staged stagedFlags
	cmd := a.with(g, "copy", uses(flagsStore, "hub length compress", flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) {
			return s.copy(ctx, from, to, message, limits, staged)
		})
	cmd.Flags().StringVar(&from, "keyfrom", "", "`key` to read")
	cmd.Flags().StringVar(&to, "keyto", "", "`key` to publish under")
	cmd.Flags().StringVarP(&message, "message", "m", "", "`reason`, shown in history")
	registerLimits(cmd.Flags(), &limits)
	staged.register(cmd.Flags())
	return cmd
}

func (s *session) copy(ctx context.Context, from, to, message string, limits gate.Limits, staged stagedFlags) (
	report, error) {
	if from == "" || to == "" {
		return nil, errors.New("two keys are needed; name them with --keyfrom and --keyto")
	}
	source, err := kv.ParseKey(from)
	if err != nil {
		return nil, err
	}
	target, err := s.key(to)
	if err != nil {
		return nil, err
	}
	p := publication{copied: source, staged: staged, Request: publish.Request{
		Key: target, MinLines: s.g.length, Message: message, Limits: limits,
	}}
	if p.Encoding, err = s.g.encodingOf(""); err != nil {
		return nil, err
	}
	s.k, s.role = source, "node" // for the remedy of a denied read
	if p.Content, err = s.content(ctx, source); err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	s.k, s.role = target, ""
	if message == "" {
		p.Message = fmt.Sprintf("copy of %s", source)
	}
	r, err := s.publish(ctx, p)
	if r == nil {
		return refused(err), err
	}
	return *r, err
}

// content reads the verified bytes of a key.
func (s *session) content(ctx context.Context, k kv.Key) ([]byte, error) {
	live, _, err := record.Read(ctx, s.store, s.layout, k, record.Query{})
	if err != nil {
		return nil, err
	}
	return live.Plain, live.Installable(s.g.length)
}
