// Command lab runs the hosts-file fleet on this Linux machine, of real Consul,
// consul-template, dnsmasq and kvexpress, and measures it. It is no part of kvexpress, and
// runs in its source tree.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"kvexpress/lab/hosts"
	"kvexpress/lab/scale"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	scale          bool
	nodes, changes int
	mode           string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	name := "lab: the hosts-file fleet (lab scale: 1,188 agents, each a process)"
	nodes, changes := 10, 18
	if o.scale = len(args) > 0 && args[0] == "scale"; o.scale {
		name, args, nodes, changes = "lab scale: 1,188 agents, each a process", args[1:], 1188, 5
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.nodes, "nodes", nodes, "how many `nodes`")
	flags.IntVar(&o.changes, "changes", changes, "how many `changes` are measured")
	if !o.scale {
		flags.StringVar(&o.mode, "mode", "", "how nodes get their file: watch, agent, or template (consul-template); default: mixed")
	}
	err = flags.Parse(args)
	modes := []string{"", "watch", "agent", "template"}
	if err == nil && (flags.NArg() > 0 || o.nodes < 1 || o.changes < 1 || !slices.Contains(modes, o.mode)) {
		flags.Usage()
		err = errors.New("see above")
	}
	return o, err
}

// run does what the arguments say, until it is done or a signal ends it, and returns the
// exit code: 0, or 1 for any failure. Nothing is left of what it began.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// SIGPIPE: the reader of its output has ended.
	ctx, done := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer done()
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil { // it was said
		return 1
	}
	err = o.inFolder(ctx, stdout)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "lab: interrupted")
	}
	fmt.Fprintln(stderr, "lab:", err)
	return 1
}

// inFolder runs a fleet in a temporary folder. However it ends, it ends all that runs, and
// removes the folder.
func (o options) inFolder(ctx context.Context, stdout io.Writer) (err error) {
	began := time.Now()
	say := func(line string) { fmt.Fprintf(stdout, "%6.1fs  %s\n", time.Since(began).Seconds(), line) }
	dir, err := os.MkdirTemp("", "kvexpress-lab-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	h := hosts.Options{Dir: filepath.Join(dir, "fleet"), Nodes: o.nodes, Mode: hosts.Mode(o.mode), Say: say}
	if o.scale {
		h.Nodes, h.Agents = 0, o.nodes
	}
	if h.Tools, err = hosts.GetTools(ctx, dir); err != nil {
		return err
	}
	f, err := hosts.New(ctx, h)
	if err != nil {
		return err
	}
	defer func() {
		say("ending all programs")
		err = errors.Join(err, f.Close())
	}()
	if o.scale {
		if err := f.StartServers(ctx); err != nil {
			return err
		}
		return scale.Run(ctx, f, o.changes)
	}
	return o.play(ctx, stdout, f)
}
