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
	"syscall"
	"time"

	"kvexpress/lab/hosts"
	"kvexpress/lab/scale"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	scale          bool
	nodes, changes int
	hubs           int // -1: a run without hubs, and one with two
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
	flags.IntVar(&o.hubs, "hubs", -1, "how many `hubs` agents follow; default: a run without hubs, and one with two")
	err = flags.Parse(args)
	numbers := o.nodes > 0 && o.changes > 0 && o.hubs >= -1 && o.hubs <= 3
	if err == nil && (flags.NArg() > 0 || !numbers) {
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

// inFolder runs fleets in a temporary folder, one after the other. However they end, it ends all that runs, and removes the
// folder.
func (o options) inFolder(ctx context.Context, stdout io.Writer) (err error) {
	began := time.Now()
	say := func(line string) { fmt.Fprintf(stdout, "%6.1fs  %s\n", time.Since(began).Seconds(), line) }
	dir, err := os.MkdirTemp("", "kvexpress-lab-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	h := hosts.Options{Nodes: o.nodes, Say: say}
	if o.scale {
		h.Nodes, h.Agents = 0, o.nodes
	}
	if h.Tools, err = hosts.GetTools(ctx, dir); err != nil {
		return err
	}
	runs := []int{0, 2}
	if o.hubs >= 0 {
		runs = []int{o.hubs}
	}
	var all results
	for _, h.Hubs = range runs {
		all.names = append(all.names, fmt.Sprintf("%d hubs", h.Hubs))
		h.Dir = filepath.Join(dir, fmt.Sprintf("fleet-%d", h.Hubs))
		if err := o.fleet(ctx, h, &all); err != nil {
			return err
		}
	}
	if o.scale {
		fmt.Fprint(stdout, scale.Table(all.names, all.scale))
	} else {
		fmt.Fprint(stdout, table(all.names, all.changes))
	}
	return nil
}

// results are those of the runs.
type results struct {
	names   []string
	changes [][]hosts.Change
	scale   []scale.Result
}

// fleet runs one fleet.
func (o options) fleet(ctx context.Context, h hosts.Options, all *results) (err error) {
	f, err := hosts.New(ctx, h)
	if err != nil {
		return err
	}
	defer func() {
		h.Say("ending all programs")
		err = errors.Join(err, f.Close())
	}()
	if !o.scale {
		changes, err := o.play(ctx, f)
		all.changes = append(all.changes, changes)
		return err
	}
	if err := f.StartServers(ctx); err != nil {
		return err
	}
	r, err := scale.Run(ctx, f, o.changes)
	all.scale = append(all.scale, r)
	return err
}
