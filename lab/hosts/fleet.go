// Package hosts is the hosts-file fleet on one machine, made of real parts: Consul
// servers, a Consul agent and a dnsmasq for each node, consul-template under a lock on
// the servers, and kvexpress, run by its command lines. Each machine has an address in
// 127.0.0.0/8 and a host name, each role a token.
//
// It owns the processes and their configuration, the record of what they do, and the changes that are
// measured. Of kvexpress' own packages it uses only those that read a key.
package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"kvexpress/lab/proc"
)

// There are three servers and 60 services. A hosts file has at least minLines, for
// publishers and nodes alike: so some services may be taken out.
const servers, services, minLines = 3, 60, 30

// A node takes perNode bytes, most of them for Consul's agent, and perAgent where there is
// only an agent of kvexpress. The servers and all others have the reserve.
const perNode, perAgent, reserve = 40 << 20, 6 << 20, 1 << 30

// Options configure a fleet.
type Options struct {
	Dir    string // absolute; New makes it, and leaves it to the caller
	Tools  Tools
	Nodes  int               // up to 240, each with a Consul agent and a dnsmasq
	Agents int               // nodes without these, which have a token for Keys, and the caller runs them
	Hubs   int               // that agents follow, beside the first servers; 0: agents ask Consul
	Say    func(line string) // gets a line for each event
}

// Fleet is a fleet that runs, and its record.
type Fleet struct {
	Options
	*Recorder
	Servers  []*Server
	Hubs     []*Hub
	Nodes    []*Node
	Services []*Service
	Set      *proc.Set

	client        *http.Client
	net           network
	tokens, rules map[string]string // by who has them
}

// New prepares a fleet: addresses, tokens, configuration. Nothing runs yet. Call Close.
func New(ctx context.Context, o Options) (*Fleet, error) {
	if o.Nodes > maxNodes {
		return nil, fmt.Errorf("%d nodes: there are addresses for %d", o.Nodes, maxNodes)
	}
	if err := proc.Room(int64(o.Nodes)*perNode+int64(o.Agents)*perAgent, reserve); err != nil {
		return nil, err
	}
	f := &Fleet{Options: o, client: newClient(), tokens: map[string]string{}, Set: proc.NewSet(o.Dir)}
	if err := f.prepare(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *Fleet) prepare(ctx context.Context) error {
	f.net = takeNetwork()
	for i := range servers {
		f.Servers = append(f.Servers, f.newServer(i))
	}
	f.prepareHubs()
	for i := range f.Options.Nodes {
		f.Nodes = append(f.Nodes, f.newNode(i))
	}
	for i := range services * min(1, len(f.Nodes)) {
		s := &Service{Name: fmt.Sprintf("web-%02d", i+1), Node: f.Nodes[i%len(f.Nodes)], fleet: f, number: i + 1}
		f.Services = append(f.Services, s)
	}
	f.Recorder = newRecorder(f)
	if err := errors.Join(os.MkdirAll(f.Logs(), 0o700), os.Mkdir(filepath.Join(f.Dir, "tokens"), 0o700)); err != nil {
		return err
	}
	if err := f.prepareTokens(ctx); err != nil {
		return err
	}
	for _, s := range f.Servers {
		if err := f.prepareServer(s); err != nil {
			return err
		}
	}
	for _, n := range f.Nodes {
		if err := n.prepare(); err != nil {
			return err
		}
	}
	return nil
}

// Agents are the names of the nodes that the caller runs.
func (f *Fleet) Agents() (names []string) {
	for i := range f.Options.Agents {
		names = append(names, fmt.Sprintf("node-%04d", i+1))
	}
	return names
}

// Logs is the folder with a file for each program.
func (f *Fleet) Logs() string { return filepath.Join(f.Dir, "log") }

func (f *Fleet) unit(name string, argv ...string) *proc.Unit {
	return f.Set.Add(&proc.Unit{Name: name, Argv: argv, Log: filepath.Join(f.Logs(), name+".log")})
}

func (f *Fleet) consulUnit(name string, config map[string]any) (*proc.Unit, error) {
	path := filepath.Join(f.Dir, name, "consul.json")
	u := f.unit("consul-"+name, f.hostNamed(name, f.Tools.Consul, "agent", "-config-file", path)...)
	u.Last = true // watchers end before the programs that they watch
	return u, writeJSON(path, config)
}

// hostNamed is a command line that runs a program on a machine of this name: locks and
// receipts go by the name that the operating system has. A user namespace lets others than
// root set it.
func (f *Fleet) hostNamed(name string, argv ...string) []string {
	wrapper := []string{f.Tools.Unshare, "--uts"}
	if os.Geteuid() != 0 {
		wrapper = append(wrapper, "--map-root-user")
	}
	return append(append(wrapper, "sh", "-c", `hostname "$0" && exec "$@"`, name), argv...)
}

// StartServers runs Consul's servers until they have a leader and know all tokens. Start
// does it, too.
func (f *Fleet) StartServers(ctx context.Context) error {
	f.Say(fmt.Sprintf("starting %d Consul servers on %s to %s", len(f.Servers), f.Servers[0].host, f.Servers[len(f.Servers)-1].host))
	if err := proc.Each(f.Servers, func(s *Server) error { return s.Consul.Start() }); err != nil {
		return err
	}
	if err := proc.Each(f.Servers, func(s *Server) error { return f.Ready(ctx, s) }); err != nil {
		return err
	}
	if err := f.makeTokens(ctx); err != nil {
		return err
	}
	return f.startHubs(ctx)
}

// Start runs all: servers, nodes with their services, and consul-template. It returns when the
// answers of all nodes agree with the catalog, and the recorder has seen that version.
func (f *Fleet) Start(ctx context.Context) error {
	if err := f.StartServers(ctx); err != nil {
		return err
	}
	if err := f.follow(); err != nil {
		return err
	}
	f.Say(fmt.Sprintf("starting %d nodes on %s to %s, each with a Consul agent and a dnsmasq on port %d",
		len(f.Nodes), f.Nodes[0].host, f.Nodes[len(f.Nodes)-1].host, dnsPort))
	if err := proc.Each(f.Nodes, func(n *Node) error { return n.start(ctx) }); err != nil {
		return err
	}
	f.Say(fmt.Sprintf("registering %d services", len(f.Services)))
	if err := proc.Each(f.Services, func(s *Service) error { return s.Set(ctx, true) }); err != nil {
		return err
	}
	f.Say(`starting consul-template under "consul lock" on each server: one of them renders`)
	if err := proc.Each(f.Servers, func(s *Server) error { return s.Renderer.Start() }); err != nil {
		return err
	}
	return f.Settled(ctx, f.Services...)
}

// Kvexpress runs a command in a role, against the first server that runs, and returns
// what it printed, see proc.Set.Run.
func (f *Fleet) Kvexpress(ctx context.Context, role string, args ...string) (string, error) {
	env := []string{"CONSUL_HTTP_ADDR=" + f.up().Addr, "CONSUL_HTTP_TOKEN=" + f.tokens[role],
		"KVEXPRESS_HUB=" + strings.Join(f.HubAddrs(), ",")}
	return f.Set.Run(ctx, env, append([]string{f.Tools.Kvexpress}, args...)...)
}

// Close ends all programs in order, and waits for them.
func (f *Fleet) Close() error {
	f.Stop()
	err := f.Set.Close()
	f.client.CloseIdleConnections()
	return err
}
