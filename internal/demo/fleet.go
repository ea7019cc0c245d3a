package demo

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

const (
	// reconcile is the time between two reconciles without a change.
	reconcile = 5 * time.Minute
	// commandTimeout limits a check and an exec.
	commandTimeout = time.Minute
)

// Options configure a fleet.
type Options struct {
	Dir     string // absolute; each node gets a folder in it
	Nodes   int
	Addr    string // of the hub, which is also the store
	Key     kv.Key
	Layout  kv.Layout
	Lines   int    // minimum; nodes refuse fewer
	Slowed  int    // number of the node that Slow works on; 0: none
	Version string // of the program
}

// Node is one machine of the fleet.
type Node struct {
	Name string
	// File is the target. Reloaded is a copy by the exec, in place of a program that has read the file.
	File, Reloaded string

	dir, overloaded string
}

// Fleet is a set of running agents.
type Fleet struct {
	Nodes []Node

	ctx    context.Context // ends with the first agent that fails, which is its cause
	cancel context.CancelCauseFunc
	agents sync.WaitGroup
}

// Start creates a folder for each node and runs an agent in it, until ctx ends or Close. Names sort like numbers.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	for i := 1; i <= o.Nodes; i++ {
		name := fmt.Sprintf("node-%0*d", max(2, len(strconv.Itoa(o.Nodes))), i)
		n := newNode(name, filepath.Join(o.Dir, name))
		f.Nodes = append(f.Nodes, n)
		a, err := n.agent(o, i == o.Slowed)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f.agents.Go(func() {
			if err := a.Run(f.ctx); err != nil {
				f.cancel(fmt.Errorf("the agent of %s failed: %w", name, err))
			}
		})
	}
	return f, nil
}

func newNode(name, dir string) Node {
	return Node{
		Name: name, dir: dir, File: filepath.Join(dir, "hosts"), Reloaded: filepath.Join(dir, "reloaded"),
		overloaded: filepath.Join(dir, "overloaded"),
	}
}

// Context ends with the fleet. If an agent failed, the cause is its error.
func (f *Fleet) Context() context.Context { return f.ctx }

// Close ends all agents and their commands, and waits for them.
func (f *Fleet) Close() {
	f.cancel(nil)
	f.agents.Wait()
}

// agent creates the node's agent.
func (n Node) agent(o Options, slowed bool) (*agent.Agent, error) {
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o644)
	target := install.Target{
		Key: o.Key, File: n.File, Mode: &mode, MinLines: o.Lines, CheckTimeout: commandTimeout,
		Exec: []string{"cp", n.File, n.Reloaded}, ExecTimeout: commandTimeout,
	}
	if slowed {
		target.Check = n.check()
	}
	return agent.New(agent.Options{
		Config: config.Config{
			Store: config.Store{Addrs: []string{o.Addr}}, Hubs: config.Hubs{Addrs: []string{o.Addr}}, Layout: o.Layout, Node: n.Name,
			StateDir: filepath.Join(n.dir, "state"), Reconcile: reconcile, Receipts: true,
			Targets: []config.Target{{Target: target}},
		},
		Open: func(config.Store) ([]agent.Store, error) {
			store, err := consul.New(consul.Options{Addr: o.Addr, Bare: true, Lasting: true})
			return []agent.Store{store}, err
		},
		Host: n.Name, Version: o.Version, Log: slog.New(slog.DiscardHandler),
		Hubs: func(config.Config) (agent.Uplink, error) {
			return agent.Uplink{Dial: wire.Dialer{}.Dial, Token: func() (string, error) { return "", nil }}, nil
		},
	})
}

// Slow makes the checks of a node take longer, until Quick.
func (n Node) Slow(by time.Duration) error {
	return os.WriteFile(n.overloaded, []byte(strconv.FormatFloat(by.Seconds(), 'f', -1, 64)+"\n"), 0o600)
}

// Quick ends Slow.
func (n Node) Quick() error { return os.Remove(n.overloaded) }

// check is the check of a node that can be slowed.
func (n Node) check() []string {
	const script = `if [ -e "$2" ]; then sleep "$(cat "$2")"; fi`
	return []string{"sh", "-c", script, "check", install.FileMark, n.overloaded}
}
