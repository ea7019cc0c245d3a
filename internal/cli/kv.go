package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
	"kvexpress/internal/rollout"
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

func (a *App) newKVImport(g *globals) *cobra.Command {
	var prefix string
	cmd := a.with(g, "kv import", uses(flagsWhole, "json verbose"), func(ctx context.Context, s *session) (report, error) {
		if len(s.args) > 1 {
			return nil, fmt.Errorf("unexpected argument %q; give at most one file", s.args[1])
		}
		return s.kvImport(ctx, strings.Join(s.args, ""), prefix)
	})
	cmd.Args = cobra.ArbitraryArgs
	cmd.Flags().StringVarP(&prefix, "prefix", "p", "", "`prefix` to put before each key, with a slash (default: none)")
	return cmd
}

func (s *session) kvImport(ctx context.Context, file, prefix string) (report, error) {
	to := embedded.Destination{Namespace: s.Getenv("CONSUL_NAMESPACE"), Partition: s.Getenv("CONSUL_PARTITION")}
	if prefix != "" {
		layout, err := kv.NewLayout(prefix)
		if err != nil {
			return nil, err
		}
		to.Prefix = layout.Prefix()
	}
	rows, err := s.readExport(file, to)
	if err != nil {
		return nil, err
	}
	ctx, done := s.interruptible(ctx)
	defer done()
	if err := s.noOpenRollouts(ctx, rows); err != nil {
		return nil, err
	}
	r := importReport{Of: len(rows)}
	for _, w := range embedded.PlanImport(rows) {
		if w.Put {
			row := w.Rows[0]
			err = s.store.Put(ctx, row.Path, row.Value, row.Flags)
		} else {
			_, err = s.store.Commit(ctx, w.Ops())
		}
		if err != nil {
			unsure := ""
			if errors.Is(err, kv.ErrUnknownOutcome) {
				unsure = "at least "
			}
			if ctx.Err() != nil {
				err = errors.New("interrupted")
			}
			return r, fmt.Errorf("import: %w; %s%d of %s were written; run it again to complete it", err, unsure, r.Keys,
				render.Plural(r.Of, "key"))
		}
		for _, row := range w.Rows {
			r.Keys++
			r.Bytes += int64(len(row.Value))
		}
	}
	return r, nil
}

// maxPrefixes limits the prefixes whose rollouts an import looks for.
const maxPrefixes = 64

// noOpenRollouts refuses rows of keys with an open rollout: its candidate would go to nodes that have other content. An export
// does not say which part of a path is the prefix, so the first two levels count as one.
func (s *session) noOpenRollouts(ctx context.Context, rows []kv.Row) error {
	written, prefixes := map[string]bool{}, map[string]bool{}
	for _, row := range rows {
		written[row.Path] = true
		parts := strings.Split(row.Path, "/")
		for depth := 1; depth < min(len(parts)-1, 3) && len(prefixes) < maxPrefixes; depth++ {
			prefixes[strings.Join(parts[:depth], "/")] = true
		}
	}
	for prefix := range prefixes {
		l, err := kv.NewLayout(prefix)
		if err != nil {
			continue // it is not ours
		}
		paths, err := s.store.Keys(ctx, l.RolloutsDir())
		if err != nil {
			return err
		}
		for _, path := range paths {
			k, err := kv.ParseKey(strings.TrimPrefix(path, l.RolloutsDir()))
			if err != nil || !written[l.Data(k)] && !written[l.Checksum(k)] && !written[l.Manifest(k)] {
				continue
			}
			snapshot, err := s.store.Read(ctx, kv.Default, path)
			if err != nil {
				return err
			}
			row, err := rollout.ParseRow(k, snapshot[path])
			if err != nil {
				return err
			}
			if row != nil && !row.State.Ended() {
				return fmt.Errorf("import: version %d of %s is being rolled out; first end that with `kvexpress rollout abort -k %[2]s "+
					"-p %[3]s`", row.Version, k, prefix)
			}
		}
	}
	return nil
}

// readExport reads an export from a file. "" and "-" are standard input; @FILE is Consul's spelling.
func (s *session) readExport(file string, to embedded.Destination) ([]kv.Row, error) {
	name, in := "standard input", s.Stdin
	if file != "" && file != "-" {
		name = strings.TrimPrefix(file, "@")
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("open the export: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = io.Reader(f)
	}
	rows, err := embedded.ReadExport(in, to)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return rows, nil
}

// importReport counts written rows.
type importReport struct {
	Keys  int   `json:"keys"`
	Of    int   `json:"of"` // in the export
	Bytes int64 `json:"bytes"`
}

func (r importReport) lines() []string {
	if r.Keys < r.Of {
		return nil // the error says how many
	}
	return []string{fmt.Sprintf("imported %s (%s)", render.Plural(r.Keys, "key"), render.Plural(int(r.Bytes), "byte"))}
}
