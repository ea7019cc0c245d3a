package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvexpress/internal/agent"
	"kvexpress/internal/cli/render"
	"kvexpress/internal/config"
	"kvexpress/internal/httpd"
	"kvexpress/internal/store/consul"
)

// defaultAgentFile is where an agent's configuration is when -C does not say.
const defaultAgentFile = "/etc/kvexpress/agent.yml"

func (a *App) newAgent(g *globals) *cobra.Command {
	var check, once, dryRun, diff bool
	cmd := a.without(g, "agent", uses("config json"), func(cmd *cobra.Command) (report, error) {
		if err := refuseOtherFlags(cmd); err != nil {
			return nil, err
		}
		path := cmp.Or(g.config, defaultAgentFile)
		switch err := checkPlanFlags(check, once, dryRun, diff); {
		case err != nil:
			return nil, err
		case check:
			return a.checkAgentFile(path)
		case dryRun:
			return a.planAgent(cmd.Context(), path, diff)
		}
		return nil, a.runAgent(cmd.Context(), path)
	})
	cmd.Flags().BoolVar(&check, "check-config", false, "check the configuration and its programs, and exit")
	cmd.Flags().BoolVar(&once, "once", false, "with --dry-run: look at each target once and exit")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what the agent would do for each target, change nothing, and exit")
	cmd.Flags().BoolVar(&diff, "diff", false, "with --dry-run: print the differences to the live versions")
	cmd.AddCommand(a.newAgentStatus(g))
	return cmd
}

// refuseOtherFlags refuses flags of other commands: the agent reads their values from its configuration.
func refuseOtherFlags(cmd *cobra.Command) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "config", "json", "check-config", "once", "dry-run", "diff", "verbose":
		default:
			err = fmt.Errorf("--%s is not a flag of the agent; set it in the configuration, see `kvexpress agent --help`", f.Name)
		}
	})
	return err
}

func (a *App) loadAgentFile(path string) (config.Config, string, error) {
	host, err := os.Hostname()
	if err != nil {
		return config.Config{}, "", fmt.Errorf("read the host name of this machine: %w", err)
	}
	c, err := config.Load(path, config.Env{Getenv: a.Getenv, Hostname: host})
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; write it, see `kvexpress agent --help`, or name another with -C", err)
	}
	return c, host, err
}

func (a *App) checkAgentFile(path string) (report, error) {
	c, _, err := a.loadAgentFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := openStores(c.Store); err != nil {
		return nil, err
	}
	if len(c.Hubs.Addrs) > 0 {
		if _, err := openHubs(c); err != nil {
			return nil, err
		}
	}
	var missing []error
	for _, t := range c.Targets {
		for _, err := range t.Programs() {
			missing = append(missing, fmt.Errorf("%s: %w", t.At, err))
		}
	}
	if missing != nil {
		return nil, &config.Error{Problems: missing}
	}
	return said{
		text:   fmt.Sprintf("%s: OK: %s, %s", path, render.Plural(len(c.Targets), "target"), render.Plural(len(c.Files), "file")),
		fields: checked{c.Files, len(c.Targets)},
	}, nil
}

// checked is a good configuration.
type checked struct {
	Files   []string `json:"files"`
	Targets int      `json:"targets"`
}

// openStores makes the stores of a configuration. Nothing is sent.
func openStores(c config.Store) ([]agent.Store, error) {
	var all []agent.Store
	for _, addr := range c.Addrs {
		s, err := consul.New(storeOptions(c, addr, "agent.yml"))
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// storeOptions are those of a daemon's store. The file is its configuration, for remedies.
func storeOptions(c config.Store, addr, file string) consul.Options {
	return consul.Options{
		Addr: addr, TokenFile: c.TokenFile, Datacenter: c.Datacenter,
		CAFile: c.CAFile, ClientCert: c.ClientCert, ClientKey: c.ClientKey, ServerName: c.ServerName,
		Namespace: c.Namespace, Partition: c.Partition, Lasting: true, File: file,
	}
}

// gcPercent keeps the heap of an agent, which is idle for most of its time, a third smaller at the same work.
const gcPercent = 40

func (a *App) runAgent(ctx context.Context, path string) error {
	debug.SetGCPercent(gcPercent)
	config, host, err := a.loadAgentFile(path)
	if err != nil {
		return err
	}
	log, closeLog := a.daemonLog("agent")
	ctx, done := a.interruptible(ctx)
	defer done()
	d, err := agent.New(agent.Options{Config: config, Open: openStores, Hubs: openHubs, Host: host, Version: build().version,
		Log: log, Fault: a.FaultHook})
	if err != nil {
		return err
	}
	parts := []func(context.Context) error{d.Run}
	if config.Listen != "" {
		l, err := httpd.Listen(config.Listen)
		if err != nil {
			return err
		}
		log.Info("listening", "address", l.Addr().String())
		parts = append(parts, func(ctx context.Context) error {
			h := agentPages(d.Status, d.Healthy, d.Ready, l.Addr().Network() == "unix")
			return httpd.Serve(ctx, l, h, httpd.ForPages())
		})
	}
	log.Info("started", "version", build().version, "node", config.Node, "targets", len(config.Targets), "config",
		filepath.Base(path))
	return errors.Join(a.daemon(ctx, daemon{
		log: log, status: func() string { return summary(d.Status()) }, healthy: d.Healthy,
		reload: func() { a.reloadAgent(d, path, log) },
	}, parts...), closeLog())
}

func (a *App) reloadAgent(d *agent.Agent, path string, log *slog.Logger) {
	c, _, err := a.loadAgentFile(path)
	if err != nil {
		d.Refuse(err)
	} else {
		err = d.Reload(c)
	}
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			log.Error("configuration refused; the old one stays in force", "error", line)
		}
		return
	}
	log.Info("configuration reloaded", "targets", len(c.Targets))
}
