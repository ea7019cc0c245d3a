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

// commandExport prints an export to standard output, and so nothing else may go there.
const commandExport = "export"

func (a *App) newKVExport(g *globals) *cobra.Command {
	var partial bool
	cmd := a.with(g, &cobra.Command{
		Use:   commandExport + " [PREFIX]",
		Short: "Print all keys, or those with a prefix, as JSON",
		Long: `Print all keys, or those that begin with PREFIX, as JSON, of one moment, to standard
output: to the byte what "consul kv export" prints of the same store.

All of the store counts, whatever wrote it: data, history, stops, locks and receipts.
What keys hold is in it in the clear. If the token may not read all of it, nothing is
printed; with --partial, what it may read. Without a single key the exit code is 5.`,
		Example: `  kvexpress kv export >all.json
  kvexpress kv export kvexpress/ >files.json
  kvexpress kv export | consul kv import -http-addr=consul.example:8500 -`,
		Args:        cobra.ArbitraryArgs,
		Annotations: uses(flagsWhole, "json verbose"),
	}, func(ctx context.Context, s *session, args []string) (report, error) {
		prefix, err := exportPrefix(s.cmd, args)
		if err != nil {
			return nil, err
		}
		return nil, s.kvExport(ctx, prefix, partial)
	})
	cmd.Flags().BoolVar(&partial, "partial", false, "leave out keys that the token cannot read")
	return cmd
}

// exportPrefix is what the keys begin with that are asked for; "": all.
func exportPrefix(cmd *cobra.Command, args []string) (string, error) {
	if cmd.Flags().Changed("prefix") {
		return "", errors.New("--prefix means nothing here; name what the keys begin with, as in `kvexpress kv export kvexpress/`")
	}
	if len(args) > 1 {
		return "", fmt.Errorf("%q is left over; name one prefix, or none", args[1])
	}
	prefix := strings.TrimPrefix(strings.Join(args, ""), "/") // as Consul's command takes it
	if prefix == "" {
		return "", nil
	}
	clean := path.Clean(prefix)
	if strings.HasSuffix(prefix, "/") {
		clean += "/"
	}
	if clean != prefix {
		return "", fmt.Errorf(`%s is no prefix of keys: a part between slashes is empty, "." or ".."`, kv.Quote(prefix))
	}
	return prefix, nil
}

func (s *session) kvExport(ctx context.Context, prefix string, partial bool) error {
	p := render.NewSteps(s.Stderr, commandExport)
	p.Step("reading all keys")
	rows, hidden, err := s.everything(ctx, prefix)
	p.Step("")
	switch {
	case err != nil:
		return err
	case hidden && (!partial || len(rows) == 0):
		return hiddenError(prefix, len(rows) > 0)
	case len(rows) == 0:
		return fmt.Errorf("%w that begins with %q; without a prefix all keys are exported, and -s names another store", errNothing,
			prefix)
	case hidden:
		s.warn(fmt.Sprintf("this token may not read %s; others may be missing in the export", allKeys(prefix)))
	}
	s.g.json = false // what follows is the result
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

// everything lists rows, and whether others may be hidden from us.
func (s *session) everything(ctx context.Context, prefix string) ([]kv.Row, bool, error) {
	all, err := s.store.List(ctx, kv.Consistent, prefix, 0, 0)
	if err != nil || all.Filtered {
		return all.Rows, all.Filtered, err
	}
	may, err := kv.MayRead(ctx, s.store, prefix)
	return all.Rows, !may, err
}

// hiddenError says that keys may not be read; some: others may.
func hiddenError(prefix string, some bool) error {
	hint := ""
	if some {
		hint = "; --partial exports those that it may read"
	}
	return fmt.Errorf("the token may not read %s: %w; the policy for it is `key_prefix %q { policy = \"read\" }`%s",
		allKeys(prefix), kv.ErrDenied, prefix, hint)
}

var errNothing = errors.New("there is no key")

func allKeys(prefix string) string {
	if prefix == "" {
		return "all keys"
	}
	return "all keys that begin with " + kv.Quote(prefix)
}
