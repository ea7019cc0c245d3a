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
	// probeTimeout is the time in which a probe must succeed.
	probeTimeout = 300 * time.Millisecond
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
	Canary  int    // number of the node with the label role=canary; 0: none
	Probe   string // a text that the file of a candidate must have for its probe to succeed
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

	running []*agent.Agent
	ctx     context.Context // ends with the first agent that fails, which is its cause
	cancel  context.CancelCauseFunc
	agents  sync.WaitGroup
}

// Start creates a folder for each node and runs an agent in it, until ctx ends or Close. Names sort like numbers.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{}
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	for i := 1; i <= o.Nodes; i++ {
		name := fmt.Sprintf("node-%0*d", max(2, len(strconv.Itoa(o.Nodes))), i)
		n := newNode(name, filepath.Join(o.Dir, name))
		f.Nodes = append(f.Nodes, n)
		a, err := n.agent(o, i)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f.running = append(f.running, a)
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

// Installs is how often each node has replaced its file.
func (f *Fleet) Installs() (all []uint64) {
	for _, a := range f.running {
		n := uint64(0)
		for _, t := range a.Status().Targets { // an agent that has ended has none
			n += t.Counts.Installs
		}
		all = append(all, n)
	}
	return all
}

// Context ends with the fleet. If an agent failed, the cause is its error.
func (f *Fleet) Context() context.Context { return f.ctx }

// Close ends all agents and their commands, and waits for them.
func (f *Fleet) Close() {
	f.cancel(nil)
	f.agents.Wait()
}

// agent creates the agent of the node with this number.
func (n Node) agent(o Options, number int) (*agent.Agent, error) {
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o644)
	target := install.Target{
		Key: o.Key, File: n.File, Mode: &mode, MinLines: o.Lines, CheckTimeout: commandTimeout,
		Exec: []string{"cp", n.File, n.Reloaded}, ExecTimeout: commandTimeout,
		Probe: []string{"grep", "-q", o.Probe, n.Reloaded}, ProbeTimeout: probeTimeout,
	}
	if number == o.Slowed {
		target.Check = n.check()
	}
	var labels map[string]string
	if number == o.Canary {
		labels = map[string]string{"role": "canary"}
	}
	return agent.New(agent.Options{
		Config: config.Config{
			Store: config.Store{Addrs: []string{o.Addr}}, Hubs: config.Hubs{Addrs: []string{o.Addr}}, Layout: o.Layout, Node: n.Name,
			Labels: labels, StateDir: filepath.Join(n.dir, "state"), Reconcile: reconcile, Receipts: true,
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
