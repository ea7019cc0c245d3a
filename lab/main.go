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
	"strings"
	"syscall"
	"time"

	"kvexpress/lab/hosts"
	"kvexpress/lab/scale"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	scale, keep    bool
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
		flags.BoolVar(&o.keep, "keep", false, "go on until Ctrl-C, and say what to try next")
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
	if err := o.play(ctx, stdout, f); err != nil {
		return err
	}
	if o.keep {
		f.Stop() // the record would fill the memory
		if err := invite(stdout, f); err != nil {
			return err
		}
		<-ctx.Done()
	}
	return context.Cause(ctx)
}

// invite writes a file for a shell with the programs, the addresses and the tokens, and
// says what to try in another terminal.
func invite(stdout io.Writer, f *hosts.Fleet) error {
	path := filepath.Join(f.Dir, "environment")
	var b strings.Builder
	fmt.Fprintf(&b, "export PATH=%s:%s:\"$PATH\"\nexport CONSUL_HTTP_ADDR=%s\n",
		word(filepath.Dir(f.Tools.Kvexpress)), word(filepath.Dir(f.Tools.Consul)), f.Servers[0].Addr)
	for _, role := range []string{hosts.Publisher, hosts.Operator, hosts.Registrar, hosts.Observer} {
		fmt.Fprintf(&b, "export %s=%s\n", strings.ToUpper(role), word(f.TokenFile(role)))
	}
	b.WriteString("export CONSUL_HTTP_TOKEN_FILE=\"$OBSERVER\"\n")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return err
	}
	n, service := f.Nodes[0], f.Services[len(f.Services)-1] // one that is in the catalog
	host, port, _ := strings.Cut(n.DNS, ":")
	fmt.Fprintf(stdout, `
The fleet runs until Ctrl-C. In another terminal:

  . %s
  kvexpress status -k hosts
  kvexpress history -k hosts

  # take %s out of the catalog, and ask a node's DNS for it
  consul services deregister -id %s -http-addr %s -token-file "$REGISTRAR"
  dig +short @%s -p %s %s

  # freeze the key, and let go
  kvexpress stop -k hosts -r 'to see what happens' --token-file "$OPERATOR"
  kvexpress resume -k hosts --token-file "$OPERATOR"

What the programs say is in %s.
`, word(path), service.Name, service.Name, service.Node.Addr, host, port, hosts.FQDN(service.Name), f.Logs())
	return nil
}

// word is a text as one word for a shell.
func word(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
