package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/httpd"
	"kvexpress/internal/hub/rollouts"
	"kvexpress/internal/hub/web"
	"kvexpress/internal/rollout"
	"kvexpress/internal/wire"
)

// Default addresses. Consul's clients connect to the second one without configuration.
const (
	DefaultListen      = "127.0.0.1:8610"
	DefaultStoreListen = "127.0.0.1:8500" // with an embedded store
)

// requestTime is how long a client may take to send a request.
const requestTime = 30 * time.Second

// Options configure a hub.
type Options struct {
	Listen            string // host:port, or the absolute path of a socket; "": the default address
	MaxConnsPerClient int    // connections of one client address; loopback and sockets have no such limit
	Files             Files  // tokens and certificates

	DataDir    string        // folder of the embedded store
	Memory     bool          // the embedded store is in memory, without a folder
	Datacenter string        // the only one that clients of the embedded store may name; "": dc1
	Host       string        // name of this machine
	Peers      []wire.Client // the other hubs of the fleet
	AnyAgent   bool          // serve agents of other machines although the store has no ACLs
	Gates      map[string]rollouts.Gate
	Notify     *rollouts.Webhook // nil: none
	NodeFrom   string            // what proves the name of a node: NodeFromToken ("") or NodeFromCertificate

	Metrics MetricsOptions // an embedded store takes the place of its store
	Log     *slog.Logger
}

// What proves the name of a node.
const (
	NodeFromToken       = "token"       // the right to write its receipt
	NodeFromCertificate = "certificate" // the name in the client certificate
)

func (o *Options) embedded() bool { return o.DataDir != "" || o.Memory }

// Hub is one daemon. Its methods are safe for concurrent use, and Run is called once.
type Hub struct {
	o       Options
	access  *access
	engine  *embedded.Engine // nil: the store is Consul
	l       net.Listener
	agents  *agents
	metrics *Metrics
	web     *web.Web
	acls    acls
}

// Open opens the store, and then the listener: a store that another process has open never gets a second one. Run answers
// requests and closes both.
func Open(o Options) (*Hub, error) {
	if o.Listen == "" {
		o.Listen = DefaultListen
		if o.embedded() {
			o.Listen = DefaultStoreListen
		}
	}
	h := &Hub{o: o}
	if err := h.open(); err != nil {
		if h.l != nil {
			err = errors.Join(err, h.l.Close())
		}
		return nil, errors.Join(err, h.closeStore())
	}
	return h, nil
}

func (h *Hub) open() (err error) {
	if err := h.o.Metrics.Check(); err != nil {
		return err
	}
	if h.access, err = openAccess(&h.o); err != nil {
		return err
	}
	if h.o.embedded() {
		if h.engine, err = openEngine(&h.o); err != nil {
			return err
		}
		h.o.Metrics.Store = h.engine.Store(embedded.Tokens(h.access.acl.Denies))
	}
	if h.l, err = httpd.Listen(h.o.Listen); err != nil {
		return err
	}
	if err := h.access.admits(&h.o, h.l.Addr()); err != nil {
		return err
	}
	if h.access.acl != nil {
		logTokens(h.o.Log, h.access.acl.Tokens())
	}
	h.agents = h.newAgents()
	h.o.Metrics.receipts, h.o.Metrics.own = h.agents, h.agents.own
	h.metrics = NewMetrics(h.o.Metrics)
	h.web = h.newWeb()
	return nil
}

func (h *Hub) closeStore() error {
	if h.engine == nil {
		return nil
	}
	return h.engine.Close()
}

// Address is where the hub listens, with the port that it got if Options has port 0.
func (h *Hub) Address() string { return h.l.Addr().String() }

// Run answers requests, serves agents and scans the fleet until ctx ends or the listener breaks, and closes the hub.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { h.agents.run(ctx) })
	all.Go(func() { h.metrics.Run(ctx) })
	all.Go(func() { h.web.Run(ctx) })
	err := httpd.Serve(ctx, h.l, h.handler(), httpd.Options{
		TLS: h.access.tls(), Conns: maxConns(), PerClient: h.o.MaxConnsPerClient,
		Request: requestTime, Answer: consulapi.AnswerTime, Log: h.o.Log,
	})
	cancel()
	all.Wait()
	return errors.Join(err, h.closeStore())
}

// handler answers on the paths of the hub. All others go to the API of the embedded store, if there is one. The metrics show
// names of keys and nodes, so a token must be able to read those.
func (h *Hub) handler() http.Handler {
	pages := httpd.Pages{
		httpd.MetricsPath: h.metrics.page,
		httpd.HealthPath:  httpd.Verdict(h.Healthy),
		httpd.ReadyPath:   httpd.Verdict(h.metrics.ready),
	}
	others, layout := http.Handler(pages), h.o.Metrics.Layout
	if h.engine != nil {
		others = h.api()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if web.Has(r) {
			h.web.ServeHTTP(w, r)
			return
		}
		switch r.URL.Path {
		case wire.Path:
			h.agents.accept(w, r)
		case wire.ReceiptsPath:
			h.agents.page(w, r)
		case rollout.ViewPath, rollout.PreviewPath, rollouts.PeerPath:
			h.agents.rollout(w, r)
		case httpd.MetricsPath:
			if err := h.access.acl.MayRead(r, layout.Prefix()+"/", layout.NodesDir()); err != nil {
				httpd.Text(w, http.StatusForbidden, err.Error()+"; `kvexpress acl hub` prints the policy that the token needs")
				return
			}
			pages.ServeHTTP(w, r)
		case httpd.HealthPath, httpd.ReadyPath:
			pages.ServeHTTP(w, r)
		default:
			others.ServeHTTP(w, r)
		}
	})
}

// maxConns leaves open files for the store.
func maxConns() int {
	const others = 128
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*others {
		return others
	}
	return int(min(files.Cur, 1<<20)) - others
}

// Healthy returns why the process must be restarted.
func (h *Hub) Healthy() error {
	if h.engine == nil {
		return h.metrics.healthy()
	}
	return errors.Join(h.engine.Healthy(), h.metrics.healthy())
}

// Status describes the hub in one line.
func (h *Hub) Status() string {
	words := fmt.Sprintf("%d agents; %s", h.agents.Counts().Agents, h.metrics.status())
	if h.engine == nil {
		return words
	}
	return "store in " + cmp.Or(h.o.DataDir, "memory") + "; " + words
}

// Reload reads tokens and certificates again. If one of the files is invalid, all stay as they were.
func (h *Hub) Reload() { h.access.reload(h.o.Log) }
