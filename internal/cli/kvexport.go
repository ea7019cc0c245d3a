package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

// commandExport is the name of a command whose standard output is only the export.
const commandExport = "export"

func (a *App) newKVExport(g *globals) *cobra.Command {
	cmd := a.with(g, "kv "+commandExport, uses(flagsWhole, "json verbose"), func(ctx context.Context, s *session) (report, error) {
		prefix, err := exportPrefix(s.cmd, s.args)
		if err != nil {
			return nil, err
		}
		return nil, s.kvExport(ctx, prefix)
	})
	cmd.Args = cobra.ArbitraryArgs
	return cmd
}

// exportPrefix is the prefix of the exported keys; "": all keys.
func exportPrefix(cmd *cobra.Command, args []string) (string, error) {
	if cmd.Flags().Changed("prefix") {
		return "", errors.New("--prefix has no effect here; give a prefix as the argument, such as `kvexpress kv export kvexpress/`")
	}
	if len(args) > 1 {
		return "", fmt.Errorf("unexpected argument %q; give at most one prefix", args[1])
	}
	prefix := strings.TrimPrefix(strings.Join(args, ""), "/") // as Consul's command does
	if prefix == "" {
		return "", nil
	}
	clean := path.Clean(prefix)
	if strings.HasSuffix(prefix, "/") {
		clean += "/"
	}
	if clean != prefix {
		return "", fmt.Errorf(`%s is not a prefix of keys: a part between slashes is empty, "." or ".."`, kv.Quote(prefix))
	}
	return prefix, nil
}

func (s *session) kvExport(ctx context.Context, prefix string) error {
	rows, err := s.everything(ctx, prefix)
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return fmt.Errorf("%w that begins with %q; leave out the prefix to export all keys, or name another store with -s", errNothing,
			prefix)
	}
	s.g.json = false // the export is the result
	if render.IsTerminal(s.Stdout) {
		var text bytes.Buffer
		if err = embedded.WriteExport(&text, rows); err == nil {
			_, err = s.Stdout.Write(render.PrintableJSON(text.Bytes()))
		}
	} else {
		err = embedded.WriteExport(s.Stdout, rows)
	}
	if err != nil {
		return fmt.Errorf("write the export to standard output: %w", err)
	}
	return nil
}

// everything lists rows, and refuses to leave out those that the token cannot read.
func (s *session) everything(ctx context.Context, prefix string) ([]kv.Row, error) {
	all, err := s.store.List(ctx, kv.Consistent, prefix, 0, 0)
	may := !all.Filtered
	if err == nil && may {
		may, err = kv.MayRead(ctx, s.store, prefix)
	}
	if err == nil && !may {
		what := "all keys"
		if prefix != "" {
			what += " that begin with " + kv.Quote(prefix)
		}
		err = fmt.Errorf("the token cannot read %s: %w; it needs the policy `key_prefix %q { policy = \"read\" }`; a longer "+
			"prefix needs less", what, kv.ErrDenied, prefix)
	}
	return all.Rows, err
}

var errNothing = errors.New("there is no key")

// flagsWhole are the general flags of commands for the whole store, which have no prefix of keys.
const flagsWhole = "config server token token-file datacenter retry-for"

func (a *App) newKV(g *globals) *cobra.Command {
	cmd := described("kv", "")
	cmd.Args, cmd.SuggestionsMinimumDistance = unknownCommand, 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(a.newKVExport(g), a.newKVImport(g))
	return cmd
}
