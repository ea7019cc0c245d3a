package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvexpress/internal/agent"
	"kvexpress/internal/atomicfile"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/config"
	"kvexpress/internal/doctor"
	"kvexpress/internal/fleet"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

const agentUnit = "kvexpress-agent.service"

// doctorOptions are those of a store that is asked once, and must say why it does not answer before the check ends.
func doctorOptions(o consul.Options) consul.Options {
	o.Timeout = doctor.Limit - time.Second
	return o
}

// examineAgent checks a node by its agent.yml, and by what its agent says.
func (a *App) examineAgent(ctx context.Context, g *globals) []doctor.Check {
	path := cmp.Or(g.config, defaultAgentFile)
	c, host, err := a.loadAgentFile(path)
	if err != nil {
		checks := []doctor.Check{ofConfig(path, err)}
		if g.config == "" {
			checks = append(checks, a.ofAgent(ctx, g, new(node))) // the machine's own
		}
		return checks
	}
	n := &node{app: a, Config: c, host: host}
	running := a.ofAgent(ctx, g, n)
	checks := []doctor.Check{doctor.Given("configuration", path, doctor.Finding{Result: doctor.OK,
		Says: render.Plural(len(c.Targets), "target") + " in " + render.Plural(len(c.Files), "file")})}
	if len(c.Hubs.Addrs) == 0 || c.Hubs.Direct {
		checks = append(checks, n.stores()...)
	}
	checks = append(append(checks, n.hubs()...), running)
	checks = append(checks, certificates(c.Store.CAFile, c.Store.ClientCert, c.Hubs.CAFile, c.Hubs.ClientCert)...)
	checks = append(checks, n.ofState())
	checks = append(checks, n.targets()...)
	checks = append(checks, n.policies()...)
	checks = append(checks, doctor.OfUnit(agentUnit, n.folders()))
	if n.store != nil {
		checks = append(checks, doctor.OfFleet(fleet.Reader{Store: n.store, Layout: c.Layout}, build().version, n.guide()))
	}
	return checks
}

// node is a node that is examined.
type node struct {
	app *App
	config.Config
	host   string
	status *agent.Status // nil: the agent does not answer
	late   string        // what installs a target
	other  string        // why this process cannot try what the agent does
	all    []agent.Store
	store  kv.Store // the first one; nil without
}

func (n *node) guide() kv.Guide {
	role := "node --node " + n.Node
	for i, t := range n.Targets {
		if i == 8 {
			role += " -k KEY"
			break
		}
		role += " -k " + string(t.Key)
	}
	g := kv.Guide{Role: role}
	if p := n.Layout.Prefix(); p != defaultPrefix {
		g.Flags = append(g.Flags, kv.Flag{Name: "-p", Value: p})
	}
	return g
}

// stores are the checks of all stores. It opens them.
func (n *node) stores() (checks []doctor.Check) {
	for _, addr := range n.Store.Addrs {
		s, err := consul.New(doctorOptions(storeOptions(n.Store, addr, "agent.yml")))
		if err != nil {
			checks = append(checks, doctor.Given(doctor.StoreCheck, addr, doctor.Finding{Result: doctor.Failure, Says: err.Error()}))
			continue
		}
		n.all = append(n.all, s)
		if n.store == nil {
			n.store = s
		}
		checks = append(checks, doctor.OfStore(s, n.rights(), n.guide()))
	}
	return checks
}

// rights are the rows that the agent reads and writes. A hub says by itself whether it takes receipts.
func (n *node) rights() []doctor.Right {
	s := &session{App: n.app, layout: n.Layout, host: n.host}
	var keys, locks []string
	for _, t := range n.Targets {
		keys = append(keys, string(t.Key))
		locks = append(locks, n.Layout.Lock(t.File, n.host))
	}
	all, _ := s.rights("node", keys, n.Node, !n.Receipts || len(n.Hubs.Addrs) > 0, locks) // without targets there is none
	return all
}

func (n *node) hubs() (checks []doctor.Check) {
	if len(n.Hubs.Addrs) == 0 {
		return nil
	}
	up, err := openHubs(n.Config)
	for _, addr := range n.Hubs.Addrs {
		if err != nil {
			checks = append(checks, doctor.Given(doctor.HubCheck, addr, doctor.Finding{Result: doctor.Failure, Says: err.Error()}))
			continue
		}
		checks = append(checks, doctor.OfHub(addr, up.Dial, func() (wire.Hello, error) {
			token, err := up.Token()
			return wire.Hello{Version: build().version, Node: n.Node, Host: n.host, Prefix: n.Layout.Prefix(),
				Datacenter: n.Store.Datacenter, Token: token, Labels: n.Labels}, err
		}))
	}
	return checks
}

// ofAgent asks the agent that runs here, and notes its answer.
func (a *App) ofAgent(ctx context.Context, g *globals, n *node) doctor.Check {
	addr, err := a.agentAddress(g, "")
	var s agent.Status
	if err == nil {
		s, _, err = askAgent(ctx, addr)
	}
	n.late = "start the agent: `systemctl start kvexpress-agent`"
	f := doctor.Finding{Result: doctor.Failure, Says: fmt.Sprint(err)}
	switch {
	case errors.Is(err, fs.ErrPermission) || err != nil && addr == "":
		f.Result = doctor.NotChecked
		return doctor.Given("agent", addr, f)
	case err != nil:
		return doctor.Given("agent", addr, f)
	}
	n.status = &s
	if uid, runs := ownerOf(s.PID); runs && uid != os.Geteuid() {
		n.other = fmt.Sprintf("the agent runs as uid %d, and this is uid %d; run `sudo -u '#%[1]d' kvexpress doctor -C %[3]s`", uid,
			os.Geteuid(), cmp.Or(g.config, defaultAgentFile))
	} else if env, ok := doctor.Environment(s.PID); ok {
		adopt(env)
	}
	return doctor.Given("agent", addr, doctor.OfAgent(s, build().version, time.Now())...)
}

// adopt takes over the environment of the agent as far as it matters: where programs are, and where Consul is.
func adopt(env []string) {
	matters := func(entry string) bool {
		return strings.HasPrefix(entry, "CONSUL_") || strings.HasPrefix(entry, "PATH=")
	}
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); matters(entry) {
			_ = os.Unsetenv(name) // it fails for no name that exists
		}
	}
	for _, entry := range env {
		if name, value, _ := strings.Cut(entry, "="); matters(entry) {
			_ = os.Setenv(name, value) // the same
		}
	}
}

// ownerOf is the user of a process.
func ownerOf(pid int) (uid int, ok bool) {
	info, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		return 0, false
	}
	uid, _ = atomicfile.Owner(info)
	return uid, true
}

func (n *node) ofState() doctor.Check {
	if n.other != "" {
		return doctor.Given("state", n.StateDir, doctor.Finding{Result: doctor.NotChecked, Says: n.other})
	}
	return doctor.OfState(n.StateDir)
}

// targets are the checks of all targets, and of who else writes to them.
func (n *node) targets() (checks []doctor.Check) {
	var files []string
	for _, t := range n.Targets {
		e := doctor.Target{Target: t.Target, Guide: n.guide(), Late: n.late, Other: n.other}
		if real, err := install.Resolve(t.File); err == nil {
			files = append(files, real)
		}
		for _, s := range n.all {
			e.Installers = append(e.Installers, &install.Installer{Store: s, Layout: n.Layout, Host: n.host, StateDir: n.StateDir})
		}
		if n.status != nil {
			for i, s := range n.status.Targets {
				if s.File == t.File {
					e.Status = &n.status.Targets[i]
				}
			}
		}
		checks = append(checks, doctor.OfTarget(e))
	}
	pid := 0
	if n.status != nil {
		pid = n.status.PID
	}
	return append(checks, doctor.OfWriters(files, pid))
}

// folders are those that the agent writes to.
func (n *node) folders() []string {
	dirs := []string{n.StateDir}
	for _, t := range n.Targets {
		dir := filepath.Dir(t.File)
		if real, err := install.Resolve(t.File); err == nil {
			dir = filepath.Dir(real)
		}
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// examineOut checks a node on which `kvexpress out` installs a file.
func (a *App) examineOut(cmd *cobra.Command, g *globals, file string) ([]doctor.Check, error) {
	s, err := a.open(cmd, g)
	if err != nil {
		return nil, err
	}
	var t config.Target
	if t.Key, err = s.key(g.key); err != nil {
		return nil, err
	}
	if t.File, err = install.ParseFile(file); err != nil {
		return nil, err
	}
	if err := s.fileOf(&t.Target); err != nil {
		return nil, err
	}
	argv, err := s.split("-e", g.exec)
	if err != nil {
		return nil, err
	}
	t.Exec = install.FillFile(argv, t.File)
	again := s.guide()
	names := map[string]string{"length": "-l", "exec": "-e", "owner": "-o", "group": "--group", "chmod": "-c"}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if name := names[f.Name]; name != "" {
			again.Flags = append(again.Flags, kv.Flag{Name: name, Value: f.Value.String()})
		}
	})
	n := &node{app: a, host: s.host, late: again.Typed("`kvexpress out -k " + g.key + " -f " + t.File + "`")}
	n.Config = config.Config{Layout: s.layout, Node: s.host, StateDir: a.StateDir, Receipts: true, Targets: []config.Target{t}}
	if n.StateDir == "" {
		if n.StateDir, err = install.DefaultStateDir(a.Getenv); err != nil {
			return nil, err
		}
	}
	n.store = s.plain
	store, _ := s.plain.(agent.Store)
	n.all = []agent.Store{store}
	s.role = "node --node " + s.host
	checks := []doctor.Check{s.storeCheck(s.guide(), n.rights()), n.ofState()}
	checks = append(checks, n.targets()...)
	return append(checks, doctor.OfFleet(s.reader(s.plain), build().version, s.guide())), nil
}
