package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
)

// commandShow prints content to standard output, so nothing else can be printed there.
const commandShow = "show"

type showFlags struct {
	version string
	info    bool
}

func (a *App) newShow(g *globals) *cobra.Command {
	var f showFlags
	cmd := a.with(g, commandShow, uses(needsKey, flagsStore, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.show(ctx, f) })
	fl := cmd.Flags()
	fl.StringVarP(&g.key, "key", "k", "", "`key` to show")
	fl.StringVar(&f.version, "version", "", "`version` to show (default: the live version)")
	fl.BoolVar(&f.info, "info", false, "print facts about the version instead of its content")
	return cmd
}

func (s *session) show(ctx context.Context, f showFlags) (report, error) {
	version := uint64(0)
	if f.version != "" {
		var err error
		if version, err = parseKept("--version", f.version); err != nil {
			return nil, err
		}
	}
	all, err := s.versions().Read(ctx, s.k, version)
	if err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	r := showReport{Key: s.k, versionInfo: infoOf(all[0].Version), now: time.Now()}
	switch plain := all[0].Plain; {
	case s.g.json && !f.info && utf8.Valid(plain):
		text := string(plain)
		r.Content = &text
	case !s.g.json && !f.info:
		return nil, s.print(plain)
	}
	return r, nil
}

// print writes content: unchanged, or escaped on a terminal.
func (s *session) print(plain []byte) error {
	if render.IsTerminal(s.Stdout) {
		var b bytes.Buffer
		for line := range strings.Lines(string(plain)) {
			b.WriteString(render.TabbedLine(line) + "\n")
		}
		plain = b.Bytes()
	}
	if _, err := s.Stdout.Write(plain); err != nil {
		return fmt.Errorf("write the content to standard output: %w", err)
	}
	return nil
}

type showReport struct {
	Key kv.Key `json:"key"`
	versionInfo
	Content *string `json:"content,omitempty"`

	now time.Time // in the zone in which times are shown
}

// lines is --info.
func (r showReport) lines() []string {
	rows := [][]string{
		{"key", string(r.Key)},
		{"version", r.name()},
		{"published", r.published(r.now)},
		{"by", render.Dash(r.By)},
		{"message", render.Dash(r.Message)},
		{"lines", fmt.Sprint(r.Lines)},
		{"size", render.Plural(int(r.Size), "byte")},
		{"sha256", r.SHA256},
		{"encoding", render.Dash(r.Encoding)},
		{"lineage", render.Dash(r.Lineage)},
		{"publish id", render.Dash(r.PublishID)},
	}
	if !r.State.Whole() || r.Detail != "" {
		rows = append(rows, []string{"note", r.Detail})
	}
	return render.Table(rows)
}
