package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/embedded"
	"kvexpress/internal/kv"
)

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
