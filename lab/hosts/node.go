package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"kvexpress/lab/proc"
)

// Mode is how a node gets its hosts file.
type Mode string

// The modes of a node.
const (
	Watch Mode = "watch" // a Consul watch runs kvexpress out, as with 1.x
	Agent Mode = "agent" // kvexpress agent
)

// Node is a machine of the fleet.
type Node struct {
	Name                   string
	Mode                   Mode   // every other node has a watch, the rest an agent
	Addr                   string // host:port of Consul's API on the node
	DNS                    string // host:port of its dnsmasq
	Hosts                  string // the target
	Consul, Dnsmasq, Agent *proc.Unit

	fleet     *Fleet
	number    int // from 0
	dir, host string
}

func (f *Fleet) newNode(i int) *Node {
	n := &Node{Name: fmt.Sprintf("node-%02d", i+1), Mode: []Mode{Watch, Agent}[i%2], fleet: f, number: i}
	n.host = f.net.addr(firstNode + i)
	n.Addr, n.DNS = f.net.hostPort(firstNode+i, httpPort), f.net.hostPort(firstNode+i, dnsPort)
	n.dir = filepath.Join(f.Dir, n.Name)
	n.Hosts = filepath.Join(n.dir, "etc", "hosts")
	return n
}

// prepare writes the configuration of the node's programs.
func (n *Node) prepare() (err error) {
	f := n.fleet
	watches := filepath.Join(n.dir, "watches.d")
	if err := errors.Join(os.MkdirAll(watches, 0o700), os.Mkdir(filepath.Join(n.dir, "etc"), 0o700)); err != nil {
		return err
	}
	if n.Consul, err = f.consulUnit(n.Name, f.consulConfig(n.Name, n.host)); err != nil {
		return err
	}
	n.Consul.Argv = append(n.Consul.Argv, "-config-dir", watches)

	conf := filepath.Join(n.dir, "dnsmasq.conf")
	text := fmt.Sprintf("port=%d\nlisten-address=%s\nbind-interfaces\nno-resolv\nno-hosts\naddn-hosts=%s\nlocal=/%s/\n",
		dnsPort, n.host, n.Hosts, domain)
	// With --no-daemon it stays the user that it is: another one could not read the lab's
	// folder. Then it writes no file with its pid.
	n.Dnsmasq = f.unit("dnsmasq-"+n.Name, "sh", "-c", `echo $$ >"$0" && exec "$@"`, n.pidFile(),
		f.Tools.Dnsmasq, "--no-daemon", "--conf-file="+conf)

	// JSON is YAML.
	agent := map[string]any{
		"stores": n.Addr, "token_file": f.TokenFile(n.Name), "node": n.Name, "state_dir": n.state(),
		"listen":  filepath.Join(n.dir, "agent.sock"),
		"targets": []any{map[string]any{"key": Key, "file": n.Hosts, "mode": "0644", "min_lines": minLines, "exec": n.reload()}},
	}
	if len(f.Hubs) > 0 {
		agent["hubs"] = f.HubAddrs()
	}
	n.Agent = f.unit("agent-"+n.Name, f.hostNamed(n.Name, f.Tools.Kvexpress, "agent", "-C", n.config())...)
	n.Agent.Restart = true
	return errors.Join(os.WriteFile(conf, []byte(text), 0o600), writeJSON(n.config(), agent))
}

func (n *Node) config() string  { return filepath.Join(n.dir, "agent.yml") }
func (n *Node) pidFile() string { return filepath.Join(n.dir, "dnsmasq.pid") }
func (n *Node) state() string   { return filepath.Join(n.dir, "state") }

// reload is the command that makes dnsmasq read its hosts file again. pkill would
// match the processes of all nodes on this machine.
func (n *Node) reload() []string {
	return []string{"sh", "-c", `read p <"$0" && kill -HUP $p`, n.pidFile()}
}

// out is the command line with which a watch, or a person, installs the file here.
func (n *Node) out() []string {
	return []string{
		n.fleet.Tools.Kvexpress, "out", "-s", n.Addr, "--token-file", n.fleet.TokenFile(n.Name), "-k", Key, "-f", n.Hosts,
		"-l", strconv.Itoa(minLines), "-c", "0644", "-e", commandLine(n.reload()), "--state-dir", n.state(),
	}
}

// watch makes Consul's agent on the node run kvexpress out, or no longer, from its next
// start or reload on.
func (n *Node) watch(on bool) error {
	config := map[string]any{}
	if on {
		config["watches"] = []any{map[string]any{
			"type": "key", "key": "/kvexpress/" + Key + "/checksum", "token": n.fleet.tokens[n.Name], "args": n.out(),
		}}
	}
	return writeJSON(n.watchFile(), config)
}

func (n *Node) watchFile() string { return filepath.Join(n.dir, "watches.d", "hosts.json") }

// start runs Consul and dnsmasq on the node, and the programs of its mode.
func (n *Node) start(ctx context.Context) error {
	if err := errors.Join(n.watch(n.Mode == Watch), n.Consul.Start(), n.Dnsmasq.Start()); err != nil {
		return err
	}
	if err := proc.Poll(ctx, "Consul on "+n.Name, func() error {
		if err := errors.Join(n.Consul.Alive(), n.Dnsmasq.Alive()); err != nil {
			return err
		}
		_, err := n.fleet.leader(ctx, n.Addr)
		return err
	}); err != nil {
		return err
	}
	return n.begin(ctx, n.Mode)
}

// begin starts the agent, if the mode has one.
func (n *Node) begin(ctx context.Context, m Mode) error {
	if m != Agent {
		return nil
	}
	if err := n.Agent.Start(); err != nil || len(n.fleet.Versions()) == 0 {
		return err
	}
	// As in docs/from-watches-to-the-agent.md: the watch is removed when the agent reports
	// that it is healthy.
	return proc.Poll(ctx, "kvexpress agent on "+n.Name, func() error {
		_, err := n.fleet.Kvexpress(ctx, Observer, "agent", "status", "--strict", "-C", n.config())
		return err
	})
}

// Pause freezes all programs of the node, until Continue.
func (n *Node) Pause() { n.all((*proc.Unit).Pause) }

// Continue ends a Pause.
func (n *Node) Continue() { n.all((*proc.Unit).Continue) }

func (n *Node) all(do func(*proc.Unit)) {
	for _, u := range []*proc.Unit{n.Agent, n.Dnsmasq, n.Consul} {
		do(u)
	}
}
