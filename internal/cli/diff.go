package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/record"
)

// commandDiff has numbers as arguments, see oldSpellings.
const commandDiff = "diff"

func (a *App) newDiff(g *globals) *cobra.Command {
	var with string
	cmd := a.with(g, commandDiff, uses(needsKey, flagsStore, flagsReport), func(ctx context.Context, s *session) (report, error) {
		return s.diff(ctx, with, s.args)
	})
	cmd.Args = cobra.ArbitraryArgs
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` to compare versions of")
	cmd.Flags().StringVar(&with, "with", "", "`file` to compare with; - is standard input")
	return cmd
}

func (s *session) diff(ctx context.Context, with string, args []string) (report, error) {
	if most := 2; len(args) > most {
		return nil, fmt.Errorf("%s is left over; name two versions at most", kv.Quote(args[most]))
	}
	if with != "" && len(args) > 1 {
		return nil, errors.New("--with compares one version with a file; name one version at most")
	}
	var versions []uint64
	for _, arg := range args {
		v, err := parseKept("the argument", arg)
		if err != nil {
			return nil, err
		}
		versions = append(versions, v)
	}
	var err error
	k, r := s.k, diffReport{Key: s.k}
	if r.From, r.To, err = s.sides(ctx, k, with, versions); err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	before, after := r.From.plain, r.To.plain
	if r.Same = bytes.Equal(before, after); s.g.json && !r.Same {
		r.Diff, r.Why = render.Unified(r.From.title(k), r.To.title(k), before, after)
	}
	return r, s.showDiff(r.From.title(k), r.To.title(k), before, after)
}

// sides reads both sides of a comparison. Two versions come from one snapshot.
func (s *session) sides(ctx context.Context, k kv.Key, with string, versions []uint64) (from, to side, err error) {
	r := s.versions()
	if with == "" && len(versions) == 0 {
		l, err := r.List(ctx, k)
		if err != nil {
			return from, to, err
		}
		before, err := l.Before(false)
		if err != nil {
			return from, to, err
		}
		live, _ := l.Live()
		versions = []uint64{before.Number, live.Number}
	}
	if versions = append(versions, 0, 0)[:2]; with != "" { // 0 is the live version
		versions = versions[:1]
	}
	all, err := r.Read(ctx, k, versions...)
	if err != nil {
		return from, to, err
	}
	from = sideOf(all[0])
	if with == "" {
		return from, sideOf(all[1]), nil
	}
	to = side{File: with}
	if with == "-" {
		to.plain, err = publish.ReadAll(s.Stdin)
	} else {
		to.plain, err = publish.ReadFile(ctx, with)
	}
	to.SHA256, to.Size, to.Lines = record.Checksum(to.plain), len(to.plain), record.Lines(to.plain)
	return from, to, err
}

// side is one side of a comparison.
type side struct {
	Version uint64       `json:"version,omitempty"`
	State   record.State `json:"state,omitempty"` // of a version
	File    string       `json:"file,omitempty"`
	SHA256  string       `json:"sha256"`
	Size    int          `json:"size"`
	Lines   int          `json:"lines"`

	plain []byte
}

func sideOf(c record.Content) side {
	return side{Version: c.Number, State: c.State, SHA256: c.SHA256, Size: len(c.Plain), Lines: c.Lines, plain: c.Plain}
}

// title is the name of a side above a diff.
func (x side) title(k kv.Key) string {
	switch x.File {
	case "":
		return fmt.Sprintf("%s (%s)", k, render.Version(x.Version))
	case "-":
		return "standard input"
	}
	return x.File
}

type diffReport struct {
	Key  kv.Key `json:"key"`
	From side   `json:"from"`
	To   side   `json:"to"`
	Same bool   `json:"same"`
	Diff string `json:"diff,omitempty"`
	Why  string `json:"why,omitempty"` // there is no diff
}

// lines are printed after the diff.
func (r diffReport) lines() []string {
	if !r.Same {
		return nil
	}
	return []string{render.Line(fmt.Sprintf("%s and %s are the same (sha256 %s)", r.From.title(r.Key), r.To.title(r.Key),
		render.Short(r.To.SHA256)))}
}
