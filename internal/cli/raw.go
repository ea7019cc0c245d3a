package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/install"
	"kvexpress/internal/kv"
)

func (a *App) newRaw(g *globals) *cobra.Command {
	var f outFlags
	cmd := a.with(g, "raw", uses(flagsStore, "length", flagsFile, flagsExec, flagsReport),
		func(ctx context.Context, s *session) (report, error) {
			path := strings.TrimPrefix(g.key, "/")
			if path == "" {
				return nil, errors.New("no path is given; name it with -k PATH")
			}
			if strings.HasSuffix(path, "/") {
				return nil, fmt.Errorf("%s is a folder; name a value below it with -k PATH", kv.Quote(path))
			}
			s.about = path
			return s.install(ctx, install.Target{Raw: path}, f)
		})
	cmd.Flags().StringVarP(&g.key, "key", "k", "", "full `path` of the value")
	f.register(cmd)
	cmd.Flags().Lookup("strict").Usage = "exit 4 when the file is locked"
	cmd.Flags().Lookup("missing-ok").Usage = "exit 0 when there is no such value"
	return cmd
}
