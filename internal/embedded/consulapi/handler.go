package consulapi

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/semaphore"

	"kvexpress/internal/embedded"
)

// version is the version of Consul whose API this is.
const version = "1.22.5+kvexpress"

// Datacenter is the name of the datacenter if Options has none.
const Datacenter = "dc1"

// Options configure a Handler. Only Engine is required.
type Options struct {
	Engine     *embedded.Engine
	ACL        *ACL   // nil: every request is allowed
	NodeName   string // reported for this machine; "" is "localhost"
	Datacenter string // the only one that requests may name; "" is "dc1"
	Address    string // host:port, reported as the address of the leader
}

// Handler serves Consul's API. It is safe for concurrent use.
type Handler struct {
	engine *embedded.Engine
	o      Options
	mux    *http.ServeMux
	sent   *semaphore.Weighted // bytes of large answers in transfer
}

// New returns a Handler.
func New(o Options) *Handler {
	o.NodeName, o.Datacenter = cmp.Or(o.NodeName, "localhost"), cmp.Or(o.Datacenter, Datacenter)
	h := &Handler{engine: o.Engine, o: o, mux: http.NewServeMux(), sent: semaphore.NewWeighted(maxSent)}
	h.mux.HandleFunc("/", index)
	h.mux.HandleFunc("/v1/kv/", h.wrap(h.kv, http.MethodGet, http.MethodPut, http.MethodDelete))
	h.mux.HandleFunc("/v1/txn", h.wrap(h.txn, http.MethodPut))
	h.mux.HandleFunc("/v1/status/leader", h.wrap(h.statusLeader, http.MethodGet))
	h.mux.HandleFunc("/v1/agent/self", h.wrap(h.agentSelf, http.MethodGet))
	h.mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) { fail(w, absent(r.URL.Path)) })
	return h
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// request is a request with its parsed query and resolved token.
type request struct {
	*http.Request
	params url.Values
	grant  grant
}

func (r *request) has(param string) bool { return r.params.Has(param) }

// number returns a parameter; 0 if it is missing.
func (r *request) number(param string) (uint64, error) {
	if !r.has(param) {
		return 0, nil
	}
	n, err := strconv.ParseUint(r.params.Get(param), 10, 64)
	if err != nil {
		return 0, status(http.StatusBadRequest, fmt.Sprintf("Invalid %s: %v", param, err))
	}
	return n, nil
}

// wrap refuses other methods, unknown tokens, other datacenters and namespaces before it calls serve.
func (h *Handler) wrap(serve func(http.ResponseWriter, *request) error, methods ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ","))
			fail(w, status(http.StatusMethodNotAllowed, "method "+r.Method+" not allowed"))
			return
		}
		req, err := h.enter(r)
		if err == nil {
			err = serve(w, req)
		}
		if err != nil {
			fail(w, err)
		}
	}
}

func (h *Handler) enter(r *http.Request) (*request, error) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, status(http.StatusBadRequest, "Invalid query: "+err.Error())
	}
	if r.Header.Get("X-Consul-Namespace")+r.Header.Get("X-Consul-Partition")+params.Get("ns")+params.Get("partition") != "" {
		return nil, status(http.StatusBadRequest, "Namespaces and partitions are a Consul Enterprise feature")
	}
	if dc := params.Get("dc"); dc != "" && dc != h.o.Datacenter {
		return nil, errors.New("No path to datacenter")
	}
	req := &request{Request: r, params: params}
	req.grant, err = h.o.ACL.grant(tokenOf(req))
	return req, err
}

// index answers paths outside /v1/.
func index(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		write(w, http.StatusNotFound, "Invalid URL path: not a recognized HTTP API endpoint\n")
		return
	}
	write(w, http.StatusOK, "kvexpress hub: Consul's HTTP API for keys and transactions. There is no UI.")
}

// absent is the error for a part of Consul's API that the embedded store does not have.
func absent(what string) error {
	return status(http.StatusNotImplemented, what+" is not available: this is the embedded store of kvexpress, which has Consul's "+
		"KV store and transactions only. For everything else, use Consul.")
}

// statusLeader answers GET /v1/status/leader. This is the only server.
func (h *Handler) statusLeader(w http.ResponseWriter, _ *request) error {
	return sendJSON(w, h.o.Address)
}

// agentSelf answers GET /v1/agent/self with the fields that clients read.
func (h *Handler) agentSelf(w http.ResponseWriter, _ *request) error {
	return sendJSON(w, map[string]any{"Config": map[string]any{
		"Datacenter": h.o.Datacenter, "NodeName": h.o.NodeName, "Server": true, "Version": version,
	}})
}
