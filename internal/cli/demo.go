package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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
		Lines: demoLeast, Slowed: slowed, Version: build().version,
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
