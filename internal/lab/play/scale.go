//go:build linux

package play

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kvexpress/internal/lab"
	"kvexpress/internal/lab/scale"
)

// storyNodes is how many there were in 2016.
const storyNodes = 1188

// patientRaft is for servers on a machine that has much more to do: they shall not take
// their leader for dead.
const patientRaft = 5

type scaleFlags struct {
	servers, nodes, changes int
	json                    bool
}

func newScale(stdout io.Writer) *cobra.Command {
	var f scaleFlags
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "1,188 agents as real processes on this machine",
		Long: `1,188 agents, each a process with a token of its own, on three Consul servers: a hosts
file of 600 lines is changed, and then a file from a URL is put on all of them, with a
command. How long that took, kvexpress status tells, and is told once more from outside,
by the files themselves; the two must agree.

On a machine with few processors that is what is measured: all nodes share them. Each
agent takes some 2 MiB; more than fit are refused.`,
		Example: `  go run ./cmd/lab scale
  go run ./cmd/lab scale --nodes 200 --changes 9`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), stdout) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.servers, "servers", 3, "how many Consul `servers`")
	flags.IntVar(&f.nodes, "nodes", storyNodes, "how many `nodes`")
	flags.IntVar(&f.changes, "changes", 5, "how many `changes` of the hosts file are measured")
	flags.BoolVar(&f.json, "json", false, "print what was measured as JSON, and nothing else")
	return cmd
}

func (f scaleFlags) run(ctx context.Context, stdout io.Writer) error {
	if f.nodes < 1 || f.changes < 1 {
		return errors.New("--nodes and --changes must be 1 or more")
	}
	o := lab.Options{Servers: f.servers, RaftMultiplier: patientRaft}
	return withLab(ctx, stdout, f.json, o, func(ctx context.Context, p *page, l *lab.Lab, tools lab.Tools) error {
		if err := l.StartServers(ctx); err != nil {
			return err
		}
		nodes := filepath.Join(l.Dir, "nodes")
		if err := os.Mkdir(nodes, 0o700); err != nil {
			return err
		}
		o := scale.Options{
			Token: l.Management(), Program: tools.Kvexpress, Dir: nodes, Nodes: f.nodes, Changes: f.changes,
			Note: func(line string) { p.say("%s", line) },
		}
		for _, s := range l.Servers {
			o.Servers = append(o.Servers, scale.Server{Addr: s.Addr, PID: s.Consul.PID()})
		}
		r, err := scale.Run(ctx, o)
		if err != nil {
			return err
		}
		return f.show(p, stdout, r)
	})
}

// show prints the result. What went wrong is the error.
func (f scaleFlags) show(p *page, stdout io.Writer, r *scale.Result) error {
	if f.json {
		if err := writeJSON(stdout, r); err != nil {
			return err
		}
	} else {
		var b bytes.Buffer
		if err := r.Print(&b); err != nil {
			return err
		}
		p.print("\n" + strings.TrimRight(b.String(), "\n"))
	}
	if problems := r.Problems(); len(problems) > 0 {
		return fmt.Errorf("not all was as it should be:\n%s", strings.Join(problems, "\n"))
	}
	return nil
}
