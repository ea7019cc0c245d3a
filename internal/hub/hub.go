package hub

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"kvexpress/internal/embedded"
	"kvexpress/internal/embedded/consulapi"
	"kvexpress/internal/httpd"
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
	NodeFrom   string        // what proves the name of a node: NodeFromToken ("") or NodeFromCertificate

	Metrics MetricsOptions // an embedded store takes the place of its store
	Log     *slog.Logger
}

// What proves the name of a node.
const (
	NodeFromToken       = "token"       // the right to write its receipt
	NodeFromCertificate = "certificate" // the name in the client certificate
)

func (o *Options) embedded() bool { return o.DataDir != "" || o.Memory }

// part is one thing that a hub does. Each field may be nil.
type part struct {
	pages   httpd.Pages             // answers on exactly these paths
	paths   map[string]http.Handler // answers on exactly these paths, and checks tokens itself
	reads   []string                // prefixes of keys that a token must be able to read for the pages
	api     http.Handler            // answers on all other paths; at most one part has it
	run     func(context.Context)   // works until the context ends
	healthy func() error            // why the process must be restarted
	ready   func() error            // why the part cannot answer yet
	status  func() string           // a few words for systemd
}

// Hub is one daemon. Its methods are safe for concurrent use, and Run is called once.
type Hub struct {
	o      Options
	access *access
	engine *embedded.Engine // nil: the store is Consul
	l      net.Listener
	parts  []part
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
	if h.engine != nil {
		h.parts = append(h.parts, h.storePart())
	}
	agents := h.newAgents()
	h.o.Metrics.receipts, h.o.Metrics.own = agents, agents.own
	h.parts = append(h.parts, agents.part(), NewMetrics(h.o.Metrics).part(), part{pages: httpd.Pages{
		{Path: "/healthz", Write: httpd.Verdict(h.Healthy)}, {Path: "/readyz", Write: httpd.Verdict(h.ready)},
	}})
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

// Run answers requests and runs the parts until ctx ends or the listener breaks, and closes the hub.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range h.parts {
		if p.run != nil {
			all.Go(func() { p.run(ctx) })
		}
	}
	err := httpd.Serve(ctx, h.l, h.handler(), httpd.Options{
		TLS: h.access.tls(), Conns: maxConns(), PerClient: h.o.MaxConnsPerClient,
		Request: requestTime, Answer: consulapi.AnswerTime, Log: h.o.Log,
	})
	cancel()
	all.Wait()
	return errors.Join(err, h.closeStore())
}

// handler answers on the pages of all parts. All other paths go to the part that has an API.
func (h *Hub) handler() http.Handler {
	var pages httpd.Pages
	api, paths, reads := http.Handler(&pages), map[string]http.Handler{}, map[string][]string{}
	for _, p := range h.parts {
		pages = append(pages, p.pages...)
		for _, page := range p.pages {
			reads[page.Path] = p.reads
		}
		if p.api != nil {
			api = p.api
		}
		maps.Copy(paths, p.paths)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		prefixes, page := reads[r.URL.Path]
		if path := paths[r.URL.Path]; path != nil {
			path.ServeHTTP(w, r)
		} else if !page {
			api.ServeHTTP(w, r)
		} else if err := h.access.acl.MayRead(r, prefixes...); err != nil && len(prefixes) > 0 {
			httpd.Text(w, http.StatusForbidden, err.Error()+"; `kvexpress acl hub` prints the policy that the token needs")
		} else {
			pages.ServeHTTP(w, r)
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
	return h.all(func(p part) func() error { return p.healthy })
}

func (h *Hub) ready() error { return h.all(func(p part) func() error { return p.ready }) }

// all joins the errors of all parts.
func (h *Hub) all(check func(part) func() error) error {
	var errs []error
	for _, p := range h.parts {
		if f := check(p); f != nil {
			errs = append(errs, f())
		}
	}
	return errors.Join(errs...)
}

// Status describes the hub in one line.
func (h *Hub) Status() string {
	var words []string
	for _, p := range h.parts {
		if p.status != nil {
			words = append(words, p.status())
		}
	}
	return strings.Join(words, "; ")
}

// Reload reads tokens and certificates again. If one of the files is invalid, all stay as they were.
func (h *Hub) Reload() { h.access.reload(h.o.Log) }
