package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvexpress/internal/cli/render"
	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/embedded/disk"
	"kvexpress/internal/httpd"
)

// defaultServeListen is where Consul's clients look without being told.
const defaultServeListen = "127.0.0.1:8500"

type serveFlags struct {
	listen string
	data   string
	dev    bool
	conns  int
	guard  guardFlags
}

func (a *App) newServe(g *globals) *cobra.Command {
	var f serveFlags
	cmd := a.with(g, &cobra.Command{
		Use:   "serve --data-dir DIR | --dev",
		Short: "Run a store for one machine, with Consul's HTTP API",
		Long: `Be the store of one machine: Consul's KV store and transactions behind Consul's
HTTP API, so that kvexpress, consul-template and "consul kv" work with it
as with Consul.

With --data-dir, what was acknowledged is on disk, and a folder has one server at a
time. With --dev all is in memory and lost at the end. It is not a cluster, and it
has no catalog, no sessions and no locks. Past a few machines, use Consul: that is another
address, and an import of what "kvexpress kv export" gives.

Beyond the loopback interface and a socket it only listens with TLS and with tokens: a
file says what each token may do, in Consul's policy language. SIGHUP reads tokens and
certificates again.

When it is ready it prints its address in one line.`,
		Example: `  kvexpress serve --data-dir /var/lib/kvexpress/store
  kvexpress serve --dev --listen 127.0.0.1:0
  kvexpress serve --dev --listen /run/kvexpress/store.sock
  kvexpress serve --dev --tokens /etc/kvexpress/tokens.hcl --listen 10.0.0.1:8501 \
    --tls-cert /etc/kvexpress/tls.crt --tls-key /etc/kvexpress/tls.key`,
		Annotations: uses("datacenter", "json verbose"),
	}, func(ctx context.Context, s *session, _ []string) (report, error) { return nil, s.serve(ctx, f) })
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", defaultServeListen, "`address` to serve on: host:port, or the absolute path of a socket")
	fl.IntVar(&f.conns, "max-conns-per-client", 200,
		"`limit` of connections from one address; loopback and sockets have none")
	fl.StringVar(&f.data, "data-dir", "", "`folder` to keep all in; it is made if it is not there")
	fl.BoolVar(&f.dev, "dev", false, "keep all in memory, and lose it at the end")
	f.guard.add(fl)
	return cmd
}

func (s *session) serve(ctx context.Context, f serveFlags) error {
	switch {
	case f.dev && f.data != "":
		return errors.New("serve keeps all in memory with --dev, and in a folder with --data-dir: give one of them")
	case !f.dev && f.data == "":
		return errors.New("serve needs --data-dir, a folder to keep all in; or, if all may be lost at the end, --dev")
	}
	if f.conns < 1 {
		return errors.New("--max-conns-per-client must be at least 1")
	}
	if err := f.guard.check(f.listen); err != nil {
		return err
	}
	guard, err := newGuard(f.guard)
	if err != nil {
		return err
	}
	ctx, done := s.interruptible(ctx)
	defer done()
	l, err := httpd.Listen(f.listen)
	if err != nil {
		return err
	}
	if err := f.guard.admits(f.listen, l.Addr()); err != nil {
		return errors.Join(err, l.Close())
	}
	log, closeLog := s.daemonLog("serve")
	engine, err := f.open(log)
	if err != nil {
		return errors.Join(err, l.Close(), closeLog())
	}
	return errors.Join(s.serveStore(ctx, l, engine, f, guard, log), engine.Close(), closeLog())
}

// open opens the store.
func (f *serveFlags) open(log *slog.Logger) (*embedded.Engine, error) {
	if f.dev {
		return embedded.Open(embedded.Options{})
	}
	journal, err := disk.Open(f.data)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", f.data, err)
	}
	return embedded.Open(embedded.Options{Journal: journal, Broken: func(err error) {
		log.Error("broken", "error",
			render.Error(err))
	}})
}

// serveStore answers until the context ends or the listener breaks.
func (s *session) serveStore(
	ctx context.Context, l net.Listener, engine *embedded.Engine, f serveFlags, guard *guard, log *slog.Logger,
) error {
	h := consulapi.New(consulapi.Options{
		Engine: engine, ACL: guard.acl, NodeName: s.host, Datacenter: s.g.datacenter, Address: l.Addr().String(),
	})
	log.Info("listening", "address", l.Addr().String(), "version", build().version)
	if guard.acl != nil {
		guard.tell(log, guard.acl.Tokens())
	}
	return s.daemon(ctx, daemon{
		log: log, status: func() string { return "serves the store of this machine" },
		healthy: engine.Healthy, reload: func() { guard.reload(log) },
	}, func(ctx context.Context) error {
		fmt.Fprintf(s.Stdout, "listening on %s\n", l.Addr())
		return httpd.Serve(ctx, l, h, httpd.Options{
			TLS: guard.tls(), Conns: maxServeConns(), PerClient: f.conns, Request: requestTime, Answer: consulapi.AnswerTime, Log: log,
		})
	})
}

// requestTime is how long a client may take to send a request.
const requestTime = 30 * time.Second

// maxServeConns leaves files for the store.
func maxServeConns() int {
	const others = 128
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*others {
		return others
	}
	return int(min(files.Cur, 1<<20)) - others
}
