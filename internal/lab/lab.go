//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kvexpress/internal/lab/machine"
)

// runTime is for one command of kvexpress.
const runTime = 2 * time.Minute

// Services: so many that some may be taken out, and the file is still long enough; and
// not more than the last byte of their addresses has room for.
const minServices, maxServices = minLines + 10, 250

// Options are what a lab is made of.
type Options struct {
	Tools    Tools
	Dir      string // absolute; is made, and left to the caller
	Servers  int    // 1 to MaxServers
	Nodes    int    // up to MaxNodes; 0: the servers are all, and StartServers starts them
	Services int    // 40 to 250; without nodes, none
	// RaftMultiplier is how patient Consul's servers are with their leader, as in Consul's
	// own configuration, where 5 is what they have if nobody says otherwise. 0: 1.
	RaftMultiplier int
	// Mode tells how the node of a number, from 0, gets its file. nil: every other one by a
	// watch, and the rest by an agent.
	Mode func(node int) Mode
	// KeepRendered leaves the file that consul-template rendered where it is when it is
	// started again. Then what kvexpress in has refused is not tried again, since
	// consul-template runs its command only when the file changes.
	KeepRendered bool
	// KeepOrphans leaves consul-template alive when its consul lock alone is killed, as it is
	// without systemd. A lab that is killed then leaves it behind, for minutes.
	KeepOrphans bool
	// Say gets a line about what happens now. nil: nobody wants to know.
	Say func(line string)
}

// Lab is a fleet that runs.
type Lab struct {
	Dir      string
	Servers  []*Server
	Nodes    []*Node
	Services []*Service

	tools   Tools
	say     func(string)
	api     *api
	secrets *secrets
	net     *network
	spawner *spawner
	raft    int // raft_multiplier

	mu    sync.Mutex
	units []*Unit
}

// nodesNeed is what a node takes, most of it Consul's agent: 27 MiB after the start, as
// measured with 120 nodes. The servers have theirs from the reserve.
func nodesNeed() machine.Need {
	return machine.Need{PerNode: 40 << 20, Reserve: 512 << 20, Threads: 24, Files: 6}
}

// New prepares a lab: addresses, tokens, configuration. Nothing runs yet. Close must be
// called in any case.
func New(ctx context.Context, o Options) (*Lab, error) {
	if o.Servers < 1 || o.Servers > MaxServers {
		return nil, fmt.Errorf("a lab has 1 to %d servers", MaxServers)
	}
	if few := o.Nodes == 0 && o.Services == 0; !few && (o.Nodes < 1 || o.Nodes > MaxNodes || o.Services < minServices || o.Services > maxServices) {
		return nil, fmt.Errorf("a lab has 1 to %d nodes and %d to %d services", MaxNodes, minServices, maxServices)
	}
	if _, err := nodesNeed().Room(o.Nodes); err != nil {
		return nil, err
	}
	l := &Lab{Dir: o.Dir, tools: o.Tools, say: o.Say, api: newAPI(), spawner: newSpawner(), raft: max(1, o.RaftMultiplier)}
	if l.say == nil {
		l.say = func(string) {}
	}
	if err := l.prepare(ctx, o); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) prepare(ctx context.Context, o Options) error {
	var err error
	if l.net, err = takeNetwork(ctx); err != nil {
		return err
	}
	for i := range o.Servers {
		name := fmt.Sprintf("server-%d", i+1)
		l.Servers = append(l.Servers, &Server{
			Name: name, host: l.net.addr(firstServer + i).String(), Addr: l.net.hostPort(firstServer+i, httpPort),
			Rendered: filepath.Join(l.Dir, name, "out", "hosts"),
		})
	}
	for i := range o.Nodes {
		name := fmt.Sprintf("node-%02d", i+1)
		dir := filepath.Join(l.Dir, name)
		n := &Node{
			Name: name, Mode: []Mode{Watch, Agent}[i%2], Addr: l.net.hostPort(firstNode+i, httpPort),
			DNS:   netip.AddrPortFrom(l.net.addr(firstNode+i), uint16(l.net.dns)),
			Hosts: filepath.Join(dir, "etc", "hosts"),
			lab:   l, dir: dir, host: l.net.addr(firstNode + i).String(), pidFile: filepath.Join(dir, "dnsmasq.pid"),
		}
		if o.Mode != nil {
			n.Mode = o.Mode(i)
		}
		l.Nodes = append(l.Nodes, n)
	}
	for i := range o.Services {
		l.Services = append(l.Services, &Service{Name: fmt.Sprintf("web-%02d", i+1), Node: l.Nodes[i%o.Nodes], lab: l, number: i + 1})
	}
	l.secrets = newSecrets(names(l.Servers, func(s *Server) string { return s.Name }), names(l.Nodes, func(n *Node) string { return n.Name }))
	for _, dir := range []string{l.Logs(), filepath.Join(l.Dir, "tokens")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := l.writeEnvironment(); err != nil {
		return err
	}
	for _, s := range l.Servers {
		if err := os.MkdirAll(filepath.Dir(s.Rendered), 0o700); err != nil {
			return err
		}
		if err := l.prepareRenderer(s, o.KeepOrphans); err != nil {
			return err
		}
		if !o.KeepRendered {
			s.Renderer.Remove = s.Rendered
		}
	}
	for _, n := range l.Nodes {
		if err := n.prepare(); err != nil {
			return err
		}
	}
	return nil
}

func names[T any](of []T, name func(T) string) []string {
	all := make([]string, len(of))
	for i, x := range of {
		all[i] = name(x)
	}
	return all
}

// unit is a program that ends with the lab.
func (l *Lab) unit(name string, argv ...string) *Unit {
	u := &Unit{Name: name, Argv: argv, Dir: l.Dir, Log: filepath.Join(l.Logs(), name+".log"), spawner: l.spawner}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.units = append(l.units, u)
	return u
}

// running is an error, with the end of its log, unless the program runs. It is for
// programs without Restart.
func (u *Unit) running() error {
	if u.PID() != 0 {
		return nil
	}
	log, err := os.ReadFile(u.Log)
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return errors.Join(fmt.Errorf("%s has ended (%w); the end of %s: %s", u.Name, errEnded, u.Log, strings.Join(lines[max(0, len(lines)-5):], "\n")), err)
}

// Start runs all: first Consul's servers, then the nodes with the services that are
// registered on them, at last what renders.
func (l *Lab) Start(ctx context.Context) error {
	if err := l.StartServers(ctx); err != nil {
		return err
	}
	l.say(fmt.Sprintf("starting %d nodes on %s to %s, each with a Consul agent and a dnsmasq on port %d",
		len(l.Nodes), l.Nodes[0].host, l.Nodes[len(l.Nodes)-1].host, l.net.dns))
	if err := each(l.Nodes, func(n *Node) error { return n.start(ctx) }); err != nil {
		return err
	}
	l.say(fmt.Sprintf("registering %d services", len(l.Services)))
	if err := each(l.Services, func(s *Service) error {
		// The agent may not have its own token from the servers yet.
		if err := poll(ctx, "the registration of "+s.Name, func() error { return s.Register(ctx) }); err != nil {
			return err
		}
		// Agents tell the servers a moment later: the first version shall have all.
		return poll(ctx, s.Name+" to be in the catalog", func() error { return s.known(ctx) })
	}); err != nil {
		return err
	}
	return l.startRenderers()
}

// startRenderers runs consul-template under the lock, if a node needs what it renders.
func (l *Lab) startRenderers() error {
	for _, n := range l.Nodes {
		if n.Mode == Template {
			return nil
		}
	}
	l.say("starting consul-template under \"consul lock\" on each server: one of them renders")
	return each(l.Servers, func(s *Server) error { return s.Renderer.Start() })
}

// Close ends all programs in order, and waits for them.
func (l *Lab) Close() error {
	var err error
	l.mu.Lock()
	units := l.units
	l.mu.Unlock()
	// Those that watch before those that are watched; the last ones are made last.
	var consul []*Unit
	var others []*Unit
	for _, u := range units {
		if strings.HasPrefix(u.Name, "consul-") {
			consul = append(consul, u)
		} else {
			others = append(others, u)
		}
	}
	err = errors.Join(err, each(others, (*Unit).Stop))
	for _, u := range consul {
		u.signal(9) // nothing of it is wanted any more
	}
	err = errors.Join(err, each(consul, (*Unit).Stop))
	l.spawner.stop()
	if l.net != nil {
		l.net.release()
	}
	l.api.client.CloseIdleConnections()
	return err
}

// each calls f for all at the same time.
func each[T any](of []T, f func(T) error) error {
	errs := make([]error, len(of))
	var wg sync.WaitGroup
	for i, x := range of {
		wg.Go(func() { errs[i] = f(x) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// CommandError is a command of kvexpress that did not end with 0.
type CommandError struct {
	Args   []string
	Code   int
	Stderr string
}

// Error tells the command, and what it said.
func (e *CommandError) Error() string {
	return fmt.Sprintf("kvexpress %s: exit code %d: %s", strings.Join(e.Args, " "), e.Code, strings.TrimSpace(e.Stderr))
}

// Kvexpress runs a command in a role, against the first server that runs, and returns
// what it printed. An exit code other than 0 is a *CommandError.
func (l *Lab) Kvexpress(ctx context.Context, role Role, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.tools.Kvexpress, args...)
	cmd.Dir = l.Dir
	cmd.Env = append(environ(), "CONSUL_HTTP_ADDR="+l.up().Addr, "CONSUL_HTTP_TOKEN="+l.secrets.roles[role])
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), &CommandError{args, exit.ExitCode(), stderr.String()}
	}
	return stdout.String(), err
}

// up is the first server that runs; the first of all, if none does.
func (l *Lab) up() *Server {
	for _, s := range l.Servers {
		if s.Consul.PID() != 0 {
			return s
		}
	}
	return l.Servers[0]
}

// Left are the processes of the lab that still run: after Close, none.
func (l *Lab) Left() []int { return marked(l.Logs()) }

// Logs is the folder with a file for each program.
func (l *Lab) Logs() string { return filepath.Join(l.Dir, "log") }
