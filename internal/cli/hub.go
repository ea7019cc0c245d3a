package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kvexpress/internal/config"
	"kvexpress/internal/fleet"
	"kvexpress/internal/hub"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/wire"
)

// hubFlags are the settings of a hub. The file of -C has all but dev and once.
type hubFlags struct {
	config.Hub
	dev, once bool
}

func (f *hubFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.DataDir, "data-dir", "", "`folder` of an embedded store; created if missing")
	fl.BoolVar(&f.dev, "dev", false, "embedded store in memory; its content is lost at exit")
	fl.StringVar(&f.Listen, "listen", "", "`address` to listen on: host:port, or the absolute path of a socket (default "+
		hub.DefaultListen+", with an embedded store "+hub.DefaultStoreListen+")")
	fl.IntVar(&f.MaxConnsPerClient, "max-conns-per-client", 200,
		"maximum `number` of connections from one client address; loopback and sockets have no such limit")
	fl.StringVar(&f.Tokens, "tokens", "",
		"`file` of tokens and their rules for the embedded store; without it everyone may do everything")
	fl.StringVar(&f.TLSCert, "tls-cert", "", "`file` of the certificate (PEM) for https, followed by intermediate ones")
	fl.StringVar(&f.TLSKey, "tls-key", "", "`file` of the certificate's key (PEM)")
	fl.StringVar(&f.TLSClientCA, "tls-client-ca", "", "`file` of authorities (PEM); clients need a certificate from one of them")
	durationVar(fl, &f.ReadEvery, "read-every", 15*time.Second, "maximum time between two scans of the fleet, 5s to 2m")
	durationVar(fl, &f.ExpireAfter, "expire-after", fleet.DefaultExpiry, "leave out nodes without contact for this long")
	fl.BoolVar(&f.PerNode, "per-node", false, "name missing nodes in metrics, at most 1000")
	fl.BoolVar(&f.AnyAgent, "any-agent", false, "serve agents of other machines although the store has no ACLs")
	fl.StringVar(&f.NodeFrom, "node-from", hub.NodeFromToken,
		"what proves the name of a node: its `token`, or \"certificate\", the name in its client certificate")
	fl.StringSliceVar(&f.Peers.Addrs, "peers", nil, "`addresses` of the other hubs of the fleet, separated by commas")
	fl.StringVar(&f.Peers.CAFile, "hub-ca", "", "`file` of authorities (PEM) that have signed the certificates of the peers")
	fl.StringVar(&f.Peers.ServerName, "hub-server-name", "", "`name` in the certificates of the peers, if it is not their address")
	fl.BoolVar(&f.once, "once", false, "print the metrics of the fleet and exit")
}

func (a *App) newHub(g *globals) *cobra.Command {
	var f hubFlags
	const general = "config server token token-file datacenter prefix json"
	cmd := a.without(g, "hub", general, func(cmd *cobra.Command) (report, error) {
		if err := f.complete(cmd, g); err != nil {
			return nil, err
		}
		return a.hub(cmd.Context(), g, f)
	})
	f.add(cmd.Flags())
	cmd.AddCommand(a.newHubSize(g))
	return cmd
}

// complete adds the settings of hub.yml that no flag gives.
func (f *hubFlags) complete(cmd *cobra.Command, g *globals) (err error) {
	f.Store = config.Store{Addrs: []string{g.server}, TokenFile: g.tokenFile, Datacenter: g.datacenter}
	if f.Layout, err = kv.NewLayout(g.prefix); err != nil || g.config == "" {
		return err
	}
	f.Hub, err = config.LoadHub(g.config, f.Hub, func(key string) bool {
		given := cmd.Flags().Changed
		return given(key) || key == "store" && given("server") || key == "token_file" && given("token")
	})
	return err
}

func (a *App) hub(ctx context.Context, g *globals, s hubFlags) (report, error) {
	embedded := s.dev || s.DataDir != ""
	switch {
	case s.dev && s.DataDir != "":
		return nil, errors.New("--dev keeps the store in memory and --data-dir in a folder; give one of them")
	case embedded && s.once:
		return nil, errors.New("--once reads a store that is running; name it with -s, without --data-dir and --dev")
	case embedded && s.Store.Addrs[0] != "":
		return nil, errors.New("a hub has one store; give -s for Consul, or --data-dir or --dev for an embedded store")
	case embedded && len(s.Peers.Addrs) > 0:
		return nil, errors.New("a hub with an embedded store is alone; leave out --peers")
	}
	ctx, done := a.interruptible(ctx)
	defer done()
	m := hub.MetricsOptions{
		Layout: s.Layout, Every: s.ReadEvery, Expiry: s.ExpireAfter, PerNode: s.PerNode, Version: build().version,
		Log: slog.New(slog.DiscardHandler), Guide: hubGuide(g, s.Layout),
	}
	var peers []wire.Client
	if !embedded {
		file := ""
		if g.config != "" {
			file = "hub.yml"
		}
		o := storeOptions(s.Store, s.Store.Addrs[0], file)
		o.Token = g.token
		var err error
		if peers, err = hubClients(s.Peers, o); err != nil {
			return nil, err
		}
		store, err := consul.New(o)
		if err != nil {
			return nil, err
		}
		m.Store = store
	}
	if s.once {
		return scanOnce(ctx, m)
	}
	return nil, a.runHub(ctx, s, m, peers)
}

func hubGuide(g *globals, l kv.Layout) kv.Guide {
	guide := kv.Guide{Role: "hub", Token: g.token != ""}
	if l.Prefix() != defaultPrefix {
		guide.Flags = []kv.Flag{{Name: "-p", Value: l.Prefix()}}
	}
	return guide
}

func (a *App) runHub(ctx context.Context, s hubFlags, m hub.MetricsOptions, peers []wire.Client) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host name of this machine: %w", err)
	}
	log, closeLog := a.daemonLog("hub")
	m.Log = log
	h, err := hub.Open(hub.Options{
		Listen: s.Listen, MaxConnsPerClient: s.MaxConnsPerClient,
		Files:   hub.Files{Tokens: s.Tokens, Cert: s.TLSCert, Key: s.TLSKey, ClientCA: s.TLSClientCA},
		DataDir: s.DataDir, Memory: s.dev, Datacenter: s.Store.Datacenter, Host: host, Metrics: m, Log: log,
		AnyAgent: s.AnyAgent, NodeFrom: s.NodeFrom, Peers: peers, Gates: gates(s.Gates), Notify: webhook(s.Notify),
	})
	if err != nil {
		return errors.Join(err, closeLog())
	}
	log.Info("listening", "address", h.Address(), "version", build().version)
	return errors.Join(a.daemon(ctx, daemon{log: log, status: h.Status, healthy: h.Healthy, reload: h.Reload},
		func(ctx context.Context) error {
			fmt.Fprintf(a.Stdout, "listening on %s\n", h.Address())
			return h.Run(ctx)
		}), closeLog())
}

func gates(all map[string]config.Gate) map[string]rollouts.Gate {
	gates := map[string]rollouts.Gate{}
	for name, g := range all {
		gates[name] = rollouts.Gate(g)
	}
	return gates
}

// webhook reads its token for each notice.
func webhook(n config.Notify) *rollouts.Webhook {
	switch {
	case n.URL == "":
		return nil
	case n.TokenFile == "":
		return &rollouts.Webhook{URL: n.URL}
	}
	token := func() (string, error) { return consul.Token(consul.Options{TokenFile: n.TokenFile}) }
	return &rollouts.Webhook{URL: n.URL, Token: token}
}

// scraped is the answer to one scrape.
type scraped struct {
	Metrics string `json:"metrics"`
}

func (r scraped) lines() []string { return strings.Split(strings.TrimSuffix(r.Metrics, "\n"), "\n") }

// scanOnce prints metrics after a failed scan too: else a collector of files would take an old file for a current one.
func scanOnce(ctx context.Context, o hub.MetricsOptions) (report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	m := hub.NewMetrics(o)
	err := m.Once(ctx)
	if errors.Is(err, kv.ErrDenied) {
		err = fmt.Errorf("%w; %s", err, o.Guide.Typed("`kvexpress acl hub` prints the policy that the token needs"))
	}
	var text bytes.Buffer
	if werr := m.Write(&text, time.Now()); werr != nil {
		return nil, errors.Join(err, werr)
	}
	return scraped{text.String()}, err
}
