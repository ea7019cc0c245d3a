package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/exporter"
	"kvexpress/internal/fleet"
	"kvexpress/internal/httpd"
)

// defaultExporterListen is where an exporter listens when --listen does not say.
const defaultExporterListen = "127.0.0.1:9357"

type exporterFlags struct {
	listen  string
	every   time.Duration
	gone    time.Duration
	perNode bool
	once    bool
}

func (a *App) newExporter(g *globals) *cobra.Command {
	var f exporterFlags
	cmd := a.with(g, &cobra.Command{
		Use:   "exporter",
		Short: "Serve the fleet's metrics to Prometheus",
		Long: `Tell Prometheus how the whole fleet is: one daemon, anywhere, reads what "status"
shows, for all keys, and serves it as /metrics, beside /healthz and /readyz.

It looks when receipts change, and every --every in any case. While Consul is away
kvexpress_fleet_up is 0; what was last seen is told for 5 minutes, and then left out.

Without --per-node there is no label of a node. With it, nodes that are missing or
silent are named, 1000 at most.

With --once it looks once, prints the metrics and ends, for people and for the
textfile collector of node_exporter.`,
		Example: `  kvexpress exporter
  kvexpress exporter --listen 0.0.0.0:9357 --every 30s
  kvexpress exporter --once`,
		Annotations: uses("config server token token-file datacenter prefix", "json verbose"),
	}, func(ctx context.Context, s *session, _ []string) (report, error) { return s.exporter(ctx, f) })
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", defaultExporterListen, "`address` to serve on: host:port, or the absolute path of a socket")
	durationVar(fl, &f.every, "every", 15*time.Second, "read the fleet at least this often, 5s to 2m")
	durationVar(fl, &f.gone, "expire-after", fleet.DefaultExpiry, "leave out nodes without contact for this long")
	fl.BoolVar(&f.perNode, "per-node", false, "label metrics with nodes that are not up to date or have no contact")
	fl.BoolVar(&f.once, "once", false, "print the metrics and exit")
	return cmd
}

func (f exporterFlags) check() error {
	switch {
	case f.gone <= 0:
		return errors.New("--expire-after must be more than 0, such as 24h")
	case f.every < exporter.MinEvery || f.every > exporter.MaxEvery:
		return fmt.Errorf("--every must be from %s to %s", exporter.MinEvery, exporter.MaxEvery)
	}
	return nil
}

func (s *session) exporter(ctx context.Context, f exporterFlags) (report, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	ctx, done := s.interruptible(ctx)
	defer done()
	o := exporter.Options{
		Store: s.plain, Layout: s.layout, Every: f.every, Gone: f.gone, PerNode: f.perNode,
		Version: build().version, Log: slog.New(slog.DiscardHandler), Guide: s.guide(),
	}
	if f.once {
		return lookOnce(ctx, exporter.New(o))
	}
	log, closeLog := s.daemonLog("exporter")
	o.Log = log
	e := exporter.New(o)
	l, err := httpd.Listen(f.listen)
	if err != nil {
		return nil, err
	}
	log.Info("listening", "address", l.Addr().String(), "version", build().version)
	return nil, errors.Join(s.daemon(ctx, daemon{log: log, status: func() string { return exporterStatus(e) }, healthy: e.Healthy},
		func(ctx context.Context) error { e.Run(ctx); return nil },
		func(ctx context.Context) error { return httpd.Serve(ctx, l, e.Handler(), httpd.ForPages()) },
	), closeLog())
}

// scraped is what a scrape would bring.
type scraped struct {
	Metrics string `json:"metrics"`
}

func (r scraped) lines() []string { return strings.Split(strings.TrimSuffix(r.Metrics, "\n"), "\n") }

// lookOnce tells of the fleet as it is now. When it cannot be looked at the metrics say
// so too: who collects them from a file must not take an older one for today's.
func lookOnce(ctx context.Context, e *exporter.Exporter) (report, error) {
	err := e.Once(ctx)
	var text bytes.Buffer
	if werr := e.WriteMetrics(&text, time.Now()); werr != nil {
		return nil, errors.Join(err, werr)
	}
	return scraped{text.String()}, err
}

// exporterStatus is how it goes, in one line, for systemd.
func exporterStatus(e *exporter.Exporter) string {
	if err := e.Trouble(); err != nil {
		return "the fleet cannot be looked at: " + render.Error(err)
	}
	return "looks at the fleet"
}
