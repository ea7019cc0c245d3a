package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"kvexpress/internal/agent"
	"kvexpress/internal/consulhttp"
	"kvexpress/internal/longpoll"
	"kvexpress/internal/observe"
	"kvexpress/internal/store/local"
)

// defaultServeListen is where Consul's clients look without being told.
const defaultServeListen = "127.0.0.1:8500"

type serveFlags struct {
	listen string
	dev    bool
}

func (a *App) newServe(g *globals) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --dev",
		Short: "Be the store of one machine, with Consul's HTTP API: a daemon",
		Long: `Be the store of one machine, for tests and demos: Consul's KV store, transactions and
sessions behind Consul's HTTP API, so that kvexpress, consul-template and "consul kv"
work with it as with Consul.

It keeps all in memory and loses it at its end. It is not a cluster, and it has no
catalog, no health checks and no ACLs. Past one machine, use Consul. It only listens
on this machine's own loopback addresses, or on a socket.

When it is ready it prints its address in one line.`,
		Example: `  kvexpress serve --dev
  kvexpress serve --dev --listen 127.0.0.1:0
  kvexpress serve --dev --listen /run/kvexpress/store.sock`,
		Args:        noArgs,
		Annotations: uses("datacenter", "json verbose"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.do(cmd, g, func(ctx context.Context, s *session) (report, error) { return nil, s.serve(ctx, f) })
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", defaultServeListen, "`address` to serve on: host:port, or the absolute path of a socket")
	fl.BoolVar(&f.dev, "dev", false, "keep all in memory, and lose it at the end")
	return cmd
}

func (s *session) serve(ctx context.Context, f serveFlags) error {
	if !f.dev {
		return errors.New("serve keeps all in memory, and loses it at its end; if that will do, say --dev")
	}
	ctx, done := s.interruptible(ctx)
	defer done()
	l, err := agent.Listen(f.listen)
	if err != nil {
		return err
	}
	if addr, ok := l.Addr().(*net.TCPAddr); ok && !addr.IP.IsLoopback() {
		return errors.Join(fmt.Errorf("listen on %s: it is not an address of the loopback interface, and whoever reaches it could write every key; "+
			"name one such as %s, or use Consul for more than one machine", f.listen, defaultServeListen), l.Close())
	}
	engine, err := local.Open(local.Options{})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	log, closeLog := observe.NewLogger(observe.LogOptions{Direction: "serve", Verbose: true, Stdout: s.Stderr, Syslog: observe.SyslogOff})
	return errors.Join(s.serveStore(ctx, l, engine, log), engine.Close(), closeLog())
}

// serveStore answers until the context ends or the listener breaks.
func (s *session) serveStore(ctx context.Context, l net.Listener, engine *local.Engine, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := longpoll.New(maxServeConns(), tooManyConns)
	h := consulhttp.New(consulhttp.Options{
		Engine: engine, NodeName: s.host, Datacenter: s.g.datacenter, Address: l.Addr().String(), Server: server,
	})
	log.Info("listening", "address", l.Addr().String(), "version", build().version)
	fmt.Fprintf(s.Stdout, "listening on %s\n", l.Addr())
	var parts sync.WaitGroup
	parts.Go(func() {
		notify(ctx, log, func() string { return "serves a store in memory" }, func() error { return nil })
	})
	err := server.Serve(ctx, l, agent.ForOwnNames(l, h))
	cancel()
	parts.Wait()
	log.Info("ended")
	return err
}

// tooManyConns is what a client is told that is one too many.
const tooManyConns = "kvexpress serve has as many connections as it may: close some, or raise its limit of open files (ulimit -n)\n"

// maxServeConns leaves files for the store, and for clients that are told that there are too many.
func maxServeConns() int {
	const others = 128
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*others {
		return others
	}
	return int(min(files.Cur, 1<<20)) - others
}
