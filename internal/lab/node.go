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
	"syscall"

	"kvexpress/internal/lab/dns"
)

// Mode is how a node gets its hosts file.
type Mode string

// The modes of a node.
const (
	Watch    Mode = "watch"    // a Consul watch runs kvexpress out, as with 1.x
	Agent    Mode = "agent"    // kvexpress agent
	Template Mode = "template" // consul-template renders on the node, without kvexpress
	None     Mode = "none"     // nothing does
)

// minLines is the least that a hosts file must have, for publishers and nodes alike.
const minLines = 30

// Node is a machine of the fleet.
type Node struct {
	Name                     string
	Mode                     Mode
	Addr                     string         // host:port of Consul's API on the node
	DNS                      netip.AddrPort // of its dnsmasq
	Hosts                    string         // the target
	Consul                   *Unit
	Dnsmasq, Agent, Template *Unit

	lab            *Lab
	dir, host      string
	token, pidFile string
}

// prepare writes all that the node's programs are configured with.
func (n *Node) prepare() error {
	l := n.lab
	for _, dir := range []string{"watches.d", "etc"} {
		if err := os.MkdirAll(filepath.Join(n.dir, dir), 0o700); err != nil {
			return err
		}
	}
	var err error
	if n.token, err = l.tokenFile(n.Name, l.secrets.nodes[n.Name]); err != nil {
		return err
	}
	config := l.consulConfig(n.Name, n.host)
	config["server"] = false
	if n.Consul, err = l.consulUnit(n.Name, config); err != nil {
		return err
	}
	n.Consul.Argv = append(n.Consul.Argv, "-config-dir", filepath.Join(n.dir, "watches.d"))
	if err := n.prepareDnsmasq(); err != nil {
		return err
	}
	if err := n.prepareAgent(); err != nil {
		return err
	}
	n.Template, err = l.templateUnit("template-"+n.Name, n.dir, n.Addr, askAny, n.Hosts, n.reload())
	return err
}

// reload is the command that makes dnsmasq read its hosts file again. pkill would look at
// all processes of the machine, which here are those of all nodes.
func (n *Node) reload() []string {
	return []string{"sh", "-c", `read p <"$0" && kill -HUP $p`, n.pidFile}
}

func (n *Node) prepareDnsmasq() error {
	conf := filepath.Join(n.dir, "dnsmasq.conf")
	text := fmt.Sprintf("port=%d\nlisten-address=%s\nbind-interfaces\nno-resolv\nno-hosts\naddn-hosts=%s\nlocal=/%s/\n",
		n.DNS.Port(), n.host, n.Hosts, Domain)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	// It stays who it is: as another user it could not read the lab's folder, and would not
	// end with a lab that is killed. Then it writes no file with its pid.
	n.Dnsmasq = n.lab.unit("dnsmasq-"+n.Name, "sh", "-c", `echo $$ >"$0" && exec "$@"`, n.pidFile,
		n.lab.tools.Dnsmasq, "--no-daemon", "--conf-file="+conf)
	return nil
}

func (n *Node) prepareAgent() error {
	config := filepath.Join(n.dir, "agent.yml")
	// JSON is YAML.
	if err := writeJSON(config, map[string]any{
		"stores": n.Addr, "token_file": n.token, "node": n.Name, "state_dir": n.state(), "listen": filepath.Join(n.dir, "agent.sock"),
		"targets": []any{map[string]any{"key": Key, "file": n.Hosts, "mode": "0644", "min_lines": minLines, "exec": n.reload()}},
	}); err != nil {
		return err
	}
	n.Agent = n.lab.unit("agent-"+n.Name, n.lab.hostNamed(n.Name, n.lab.tools.Kvexpress, "agent", "-C", config)...)
	n.Agent.Restart = true
	return nil
}

func (n *Node) state() string { return filepath.Join(n.dir, "state") }

// Out is the command line with which a watch, or a person, installs the file here.
func (n *Node) Out() []string {
	return []string{
		n.lab.tools.Kvexpress, "out", "-s", n.Addr, "--token-file", n.token, "-k", Key, "-f", n.Hosts,
		"-l", fmt.Sprint(minLines), "-c", "0644", "-e", commandLine(n.reload()), "--state-dir", n.state(),
	}
}

// writeWatch says what Consul's agent on the node is to watch; it reads that when it is
// started or reloaded.
func (n *Node) writeWatch(on bool) error {
	config := map[string]any{}
	if on {
		config["watches"] = []any{map[string]any{
			"type": "key", "key": "/kvexpress/" + Key + "/checksum", "token": n.lab.secrets.nodes[n.Name], "args": n.Out(),
		}}
	}
	return writeJSON(n.watchFile(), config)
}

func (n *Node) watchFile() string { return filepath.Join(n.dir, "watches.d", "hosts.json") }

// start runs Consul and dnsmasq on the node, and what its mode needs.
func (n *Node) start(ctx context.Context) error {
	if err := n.writeWatch(n.Mode == Watch); err != nil {
		return err
	}
	if err := errors.Join(n.Consul.Start(), n.Dnsmasq.Start()); err != nil {
		return err
	}
	err := poll(ctx, "Consul on "+n.Name, func() error {
		if err := errors.Join(n.Consul.running(), n.Dnsmasq.running()); err != nil {
			return err
		}
		leader, err := n.lab.leader(ctx, &Server{Addr: n.Addr})
		if err == nil && leader == "" {
			err = errors.New("no leader")
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case n.Mode == Agent:
		return n.Agent.Start()
	case n.Mode == Template:
		return n.Template.Start()
	default:
		return nil
	}
}

// Switch changes how the node gets its file, without a gap: the new way begins before
// the old one ends.
func (n *Node) Switch(ctx context.Context, to Mode) error {
	from := n.Mode
	if from == to {
		return nil
	}
	n.Mode = to
	switch to {
	case Watch:
		if err := n.rewatch(true); err != nil {
			return err
		}
	case Agent:
		if err := n.Agent.Start(); err != nil {
			return err
		}
		// As docs/from-watches-to-the-agent.md has it: the watch goes when the agent says
		// that all is well.
		if err := poll(ctx, "kvexpress agent on "+n.Name, func() error {
			_, err := n.lab.Kvexpress(ctx, Observer, "agent", "status", "--strict", "-C", filepath.Join(n.dir, "agent.yml"))
			return err
		}); err != nil {
			return err
		}
	case Template:
		if err := n.Template.Start(); err != nil {
			return err
		}
	case None:
	}
	switch from {
	case Watch:
		return n.rewatch(false)
	case Agent:
		return n.Agent.Stop()
	case Template:
		return n.Template.Stop()
	case None:
	}
	return nil
}

// rewatch reloads Consul's agent, as consul reload does.
func (n *Node) rewatch(on bool) error {
	if err := n.writeWatch(on); err != nil {
		return err
	}
	n.Consul.signal(syscall.SIGHUP)
	return nil
}

// RunOut runs kvexpress out on the node, as a person would, with more flags if there are
// any.
func (n *Node) RunOut(ctx context.Context, flags ...string) error {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	argv := n.lab.hostNamed(n.Name, append(n.Out(), flags...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = n.lab.Dir, environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kvexpress out on %s: %w: %s", n.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

// Delivers tells what installs the file on the node, besides people: a watch that is
// configured, and an agent that runs.
func (n *Node) Delivers() (watch, agent bool, err error) {
	content, err := os.ReadFile(n.watchFile())
	return bytes.Contains(content, []byte(`"watches"`)), n.Agent.PID() != 0, err
}

// Pause freezes all that runs on the node; Continue ends that.
func (n *Node) Pause() {
	for _, u := range n.units() {
		u.Pause()
	}
}

// Continue ends a Pause.
func (n *Node) Continue() {
	for _, u := range n.units() {
		u.Continue()
	}
}

func (n *Node) units() []*Unit { return []*Unit{n.Template, n.Agent, n.Dnsmasq, n.Consul} }

// Ask asks the node's dnsmasq for the address of a service.
func (n *Node) Ask(ctx context.Context, service string) (dns.Answer, error) {
	c, err := dns.Dial(ctx, n.DNS)
	if err != nil {
		return dns.Answer{}, err
	}
	defer func() { _ = c.Close() }() // nothing to lose
	return c.Ask(ctx, FQDN(service))
}
