package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/install"
)

func (a *App) newClean(g *globals) *cobra.Command {
	var file string
	cmd := a.with(g, "clean", uses(flagsExec, "json verbose"),
		func(ctx context.Context, s *session) (report, error) { return s.clean(ctx, file) })
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` to remove")
	return cmd
}

func (s *session) clean(ctx context.Context, file string) (report, error) {
	s.about = "none"
	path, err := install.ParseFile(file)
	if err != nil {
		return nil, err
	}
	files := []string{path, path + ".compare", path + ".last"}
	for _, name := range files {
		if info, err := os.Lstat(name); err == nil && info.IsDir() {
			return nil, fmt.Errorf("%s is a folder; clean removes files only", name)
		}
	}
	removed := []string{}
	for _, name := range files {
		err := os.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("clean up: %w", err)
		}
		s.log.Info("removed", "file", name)
		removed = append(removed, name)
	}
	text := "nothing to remove"
	if len(removed) > 0 {
		text = "removed " + strings.Join(removed, ", ")
	}
	_, err = s.exec(ctx)
	return said{text: text, fields: cleanAction{removed}}, err
}

// cleanAction is what clean did.
type cleanAction struct {
	Removed []string `json:"removed"`
}
