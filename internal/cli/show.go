package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/kv"
)

// commandShow prints content to standard output, so nothing else can be printed there.
const commandShow = "show"

func (a *App) newShow(g *globals) *cobra.Command {
	var version string
	cmd := a.with(g, commandShow, uses(needsKey, flagsStore, flagsReport),
		func(ctx context.Context, s *session) (report, error) { return s.show(ctx, version) })
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "`key` to show")
	cmd.Flags().StringVar(&version, "version", "", "`version` to show (default: the live version)")
	return cmd
}

func (s *session) show(ctx context.Context, text string) (report, error) {
	version := uint64(0)
	if text != "" {
		var err error
		if version, err = parseKept("--version", text); err != nil {
			return nil, err
		}
	}
	all, err := s.versions().Read(ctx, s.k, version)
	if err != nil {
		s.observeFailure(err, "", "")
		return nil, err
	}
	plain := all[0].Plain
	if !s.g.json {
		return nil, s.print(plain)
	}
	r := showReport{Key: s.k, versionInfo: infoOf(all[0].Version)}
	if utf8.Valid(plain) {
		content := string(plain)
		r.Content = &content
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

// showReport is for --json.
type showReport struct {
	Key kv.Key `json:"key"`
	versionInfo
	Content *string `json:"content,omitempty"`
}

func (showReport) lines() []string { return nil }
