package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
	"kvexpress/internal/record"
)

// commandDiff has numbers as arguments, see oldSpellings.
const commandDiff = "diff"

func (a *App) newDiff(g *globals) *cobra.Command {
	cmd := a.with(g, commandDiff, uses(needsKey, flagsStore, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.diff(ctx) })
	cmd.Args = cobra.ArbitraryArgs
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` to compare versions of")
	return cmd
}

func (s *session) diff(ctx context.Context) (report, error) {
	if most := 2; len(s.args) > most {
		return nil, fmt.Errorf("%s is left over; name two versions at most", kv.Quote(s.args[most]))
	}
	var versions []uint64
	for _, arg := range s.args {
		v, err := parseKept("the argument", arg)
		if err != nil {
			return nil, err
		}
		versions = append(versions, v)
	}
	from, to, err := s.sides(ctx, versions)
	if err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	before, after := from.title(s.k), to.title(s.k)
	r := diffReport{Key: s.k, From: from, To: to, Same: bytes.Equal(from.plain, to.plain)}
	if s.g.json && !r.Same {
		r.Diff, r.Why = render.Unified(before, after, from.plain, to.plain)
	}
	return r, s.showDiff(before, after, from.plain, to.plain)
}

// sides reads two versions in one snapshot. The default is the live one, and the one before it.
func (s *session) sides(ctx context.Context, versions []uint64) (from, to side, err error) {
	r := s.versions()
	if len(versions) == 0 {
		l, err := r.List(ctx, s.k)
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
	all, err := r.Read(ctx, s.k, append(versions, 0)[:2]...) // 0 is the live version
	if err != nil {
		return from, to, err
	}
	return sideOf(all[0]), sideOf(all[1]), nil
}

// side is one side of a comparison.
type side struct {
	Version uint64       `json:"version,omitempty"`
	State   record.State `json:"state"`
	SHA256  string       `json:"sha256"`
	Size    int          `json:"size"`
	Lines   int          `json:"lines"`

	plain []byte
}

func sideOf(c record.Content) side {
	return side{Version: c.Number, State: c.State, SHA256: c.SHA256, Size: len(c.Plain), Lines: c.Lines, plain: c.Plain}
}

// title is the name of a side above a diff.
func (x side) title(k kv.Key) string { return fmt.Sprintf("%s (%s)", k, render.Version(x.Version)) }

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
