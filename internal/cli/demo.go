package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/demo"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hub"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

const (
	demoKey      = "hosts"
	demoLines    = 600
	demoLeast    = 100 // minimum number of lines
	minNodes     = 2
	maxNodes     = 500
	filesPerNode = 12 // open files of a node and of its connections in the store
	demoSlow     = 1500 * time.Millisecond
	demoPolicy   = "stages:\n  - nodes: {role: canary}\n    bake: 2s\n  - share: 100%\n    bake: 2s\n"
)

type demoFlags struct {
	nodes int
	keep  bool
}

func (a *App) newDemo(g *globals) *cobra.Command {
	var f demoFlags
	cmd := a.without(g, "demo", uses("json"), func(cmd *cobra.Command) (report, error) {
		if err := f.check(); err != nil {
			return nil, err
		}
		return a.demo(cmd.Context(), g, f)
	})
	cmd.Flags().IntVar(&f.nodes, "nodes", 50, fmt.Sprintf("number of `nodes`, %d to %d", minNodes, maxNodes))
	cmd.Flags().BoolVar(&f.keep, "keep", false, "keep running until Ctrl-C, and suggest what to try")
	return cmd
}

func (f demoFlags) check() error {
	if f.nodes < minNodes || f.nodes > maxNodes {
		return fmt.Errorf("--nodes must be from %d to %d", minNodes, maxNodes)
	}
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	if most := int(min(limit.Cur, 1<<20))/filesPerNode - 1; err == nil && most < f.nodes {
		return fmt.Errorf("--nodes %d needs more open files than this process may have; raise `ulimit -n`, or give at most "+
			"%d nodes", f.nodes, max(0, most))
	}
	return nil
}

// inside replaces the environment of the demo's commands.
type inside struct {
	addr   string    // of the demo's store
	screen io.Writer // the terminal; nil: there is none
	colour bool
}

// demo leaves nothing behind, however it ends.
func (a *App) demo(ctx context.Context, g *globals, f demoFlags) (r report, err error) {
	began := time.Now()
	ctx, stop := a.untilEnded(ctx)
	defer stop()
	dir, err := os.MkdirTemp("", "kvexpress-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() {
		if gone := os.RemoveAll(dir); gone != nil {
			err = errors.Join(err, fmt.Errorf("remove the folder of the demo: %w", gone))
		}
	}()
	layout, err := kv.NewLayout(defaultPrefix)
	if err != nil {
		return nil, err
	}
	addr, end, err := demo.StartStore(filepath.Join(dir, "store"), layout)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	t := tale{App: a, flags: f, dir: dir, addr: addr, began: began, to: a.Stdout}
	if g.json {
		t.to = io.Discard
	}
	slowed := min(7, f.nodes) // another node will be locked
	t.fleet, err = demo.Start(ctx, demo.Options{
		Dir: dir, Nodes: f.nodes, Addr: addr, Key: demoKey, Layout: layout,
		Lines: demoLeast, Slowed: slowed, Canary: 1, Probe: fmt.Sprintf("web-%04d", demoLines), Version: build().version,
	})
	if err != nil {
		return nil, err
	}
	defer t.fleet.Close()
	client, err := consul.New(consul.Options{Addr: addr, Bare: true})
	if err != nil {
		return nil, err
	}
	t.reader = fleet.Reader{Store: client, Layout: layout, Hub: &hub.Pages{Hubs: []wire.Client{{Addr: t.addr}}}}
	t.slow, t.kept = t.fleet.Nodes[slowed-1], t.fleet.Nodes[min(3, f.nodes-1)-1]
	t.tell(t.fleet.Context())
	switch cause := context.Cause(t.fleet.Context()); {
	case ctx.Err() != nil && !t.over:
		return nil, errors.New("the demo was interrupted; its processes have ended, and its folder is removed")
	case cause != nil && ctx.Err() == nil:
		return nil, cause
	case t.err != nil:
		return nil, t.err
	}
	return nil, nil
}

// tale is a running demo. After the first error all steps do nothing.
type tale struct {
	*App
	flags      demoFlags
	dir, addr  string
	reader     fleet.Reader
	fleet      *demo.Fleet
	slow, kept demo.Node // the slowed node and the locked node
	began      time.Time
	to         io.Writer
	over       bool // all steps are done: an end by a signal is no interruption now
	err        error
}

func (t *tale) do(step func() error) {
	if t.err == nil {
		t.err = step()
	}
}

func (t *tale) print(text string) {
	t.do(func() error {
		if _, err := fmt.Fprintln(t.to, text); err != nil {
			return fmt.Errorf("print the demo: %w", err)
		}
		return nil
	})
}

// chapter prints a heading.
func (t *tale) chapter(format string, args ...any) {
	t.print("\n" + render.Paint(t.colour(), render.Bold, fmt.Sprintf(format, args...)))
}

// note explains a command or its output.
func (t *tale) note(format string, args ...any) { t.print("  " + fmt.Sprintf(format, args...)) }

func (t *tale) path(name string) string { return filepath.Join(t.dir, name) }

func (t *tale) write(name string, content []byte) {
	t.do(func() error { return os.WriteFile(t.path(name), content, 0o600) })
}

// publish writes a source file and publishes it.
func (t *tale) publish(ctx context.Context, file string, content []byte, more ...string) {
	t.write(file, content)
	t.run(ctx, exitOK, append([]string{"in", "-k", demoKey, "-f", t.path(file), "-l", strconv.Itoa(demoLeast)}, more...)...)
}

// run prints a command, runs it in this process with the demo's store, and prints its output. Another exit code is an error.
func (t *tale) run(ctx context.Context, code int, args ...string) {
	if t.err != nil {
		return
	}
	shown := "kvexpress"
	for _, arg := range args {
		if arg = strings.ReplaceAll(arg, t.dir+"/", ""); strings.ContainsAny(arg, " ;'") {
			arg = "'" + arg + "'"
		}
		shown += " " + arg
	}
	t.note("%s", render.Paint(t.colour(), render.Cyan, "$ "+shown))
	var printed bytes.Buffer
	app := &App{
		Stdin: strings.NewReader(""), Stdout: &printed, Stderr: &printed, Getenv: t.getenv,
		inside: &inside{addr: t.addr, colour: t.colour()},
	}
	if render.IsTerminal(t.to) && t.Getenv("TERM") != "dumb" {
		app.inside.screen = t.to
	}
	got := app.Run(ctx, args)
	if ctx.Err() != nil {
		t.err = context.Cause(ctx)
		return
	}
	text := strings.ReplaceAll(printed.String(), t.dir+"/", "")
	if got != exitOK {
		text += fmt.Sprintf("(exit %d)\n", got)
	}
	for line := range strings.Lines(text) {
		t.print(strings.TrimRight("    "+line, " \n"))
	}
	if got != code {
		t.err = fmt.Errorf("`%s` exits %d instead of %d: %s", shown, got, code,
			strings.Join(strings.Fields(text), " "))
	}
}

// getenv is the environment of the demo's commands: only terminal and user come from this machine.
func (t *tale) getenv(name string) string {
	switch name {
	case "LC_ALL", "LC_CTYPE", "LANG", "TERM", "USER", "SUDO_USER":
		return t.Getenv(name)
	case "KVEXPRESS_SYSLOG":
		return "off"
	case "KVEXPRESS_DATADOG_CONF":
		return t.path("none")
	}
	return ""
}
