package consulapi

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/semaphore"

	"kvexpress/internal/embedded"
)

// version is the Consul whose API this is, and whose it is not.
const version = "1.22.5+kvexpress"

// Options are what New needs. Only Engine must be there.
type Options struct {
	Engine     *embedded.Engine
	ACL        *ACL   // nil: everybody may do everything
	NodeName   string // of this machine; "localhost" if empty
	Datacenter string // the only one that requests may name; "dc1" if empty
	Address    string // host:port, which is told as that of the leader
}

// Handler answers requests. It is safe for concurrent use.
type Handler struct {
	engine *embedded.Engine
	o      Options
	mux    *http.ServeMux
	sent   *semaphore.Weighted // what large answers have, that are being sent
}

// New returns the handler of a store.
func New(o Options) *Handler {
	if o.NodeName == "" {
		o.NodeName = "localhost"
	}
	if o.Datacenter == "" {
		o.Datacenter = "dc1"
	}
	h := &Handler{engine: o.Engine, o: o, mux: http.NewServeMux(), sent: semaphore.NewWeighted(maxSent)}
	h.mux.HandleFunc("/", index)
	h.mux.HandleFunc("/v1/kv/", h.wrap(h.kv, http.MethodGet, http.MethodPut, http.MethodDelete))
	h.mux.HandleFunc("/v1/txn", h.wrap(h.txn, http.MethodPut))
	h.mux.HandleFunc("/v1/status/leader", h.wrap(h.statusLeader, http.MethodGet))
	h.mux.HandleFunc("/v1/status/peers", h.wrap(h.statusPeers, http.MethodGet))
	h.mux.HandleFunc("/v1/agent/self", h.wrap(h.agentSelf, http.MethodGet))
	for _, area := range areas() {
		for _, pattern := range area.patterns {
			h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { fail(w, absent(r.URL.Path, area.name)) })
		}
	}
	return h
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// request is a request whose query was read once, and whose token is known.
type request struct {
	*http.Request
	params url.Values
	grant  grant
}

func (r *request) has(param string) bool { return r.params.Has(param) }

// number is a parameter; 0 if it is not there.
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

// wrap lets only requests in that have a method of the endpoint, a known token, and ask for what there is here.
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

// index answers what is no endpoint of Consul's.
func index(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		write(w, http.StatusNotFound, "Invalid URL path: not a recognized HTTP API endpoint\n")
		return
	}
	write(w, http.StatusOK, "kvexpress serve: the part of Consul's HTTP API that one machine needs for its keys. There is no UI.")
}

// area is a part of Consul's API that is not here.
type area struct {
	name     string
	patterns []string
}

func areas() []area {
	return []area{
		{"ACLs", []string{"/v1/acl/"}},
		{"agents, of which /v1/agent/self alone is here", []string{"/v1/agent/"}},
		{"catalog and health checks", []string{
			"/v1/catalog/", "/v1/health/", "/v1/coordinate/", "/v1/exported-services", "/v1/imported-services",
		}},
		{"configuration entries", []string{"/v1/config", "/v1/config/", "/v1/discovery-chain/"}},
		{"service mesh", []string{"/v1/connect/", "/v1/peering/", "/v1/peerings"}},
		{"events", []string{"/v1/event/"}},
		{"operator's tools", []string{"/v1/operator/", "/v1/internal/", "/v1/snapshot"}},
		{"prepared queries", []string{"/v1/query", "/v1/query/"}},
		{"sessions and locks", []string{"/v1/session/"}},
		{"resource API", []string{"/api/"}},
	}
}

// absent says that a part of Consul's API is not here.
func absent(what, area string) error {
	return status(http.StatusNotImplemented, fmt.Sprintf("%s is not here: it belongs to Consul's %s. "+
		"kvexpress serve is the embedded store of one machine: it has Consul's KV store and transactions. "+
		"For all else, use Consul.", what, area))
}

// statusLeader answers GET /v1/status/leader: this is the only server.
func (h *Handler) statusLeader(w http.ResponseWriter, _ *request) error {
	return sendJSON(w, h.o.Address)
}

// statusPeers answers GET /v1/status/peers.
func (h *Handler) statusPeers(w http.ResponseWriter, _ *request) error {
	return sendJSON(w, []string{h.o.Address})
}

// agentSelf answers GET /v1/agent/self with what clients look at: who the node is, and which
// version's API it has.
func (h *Handler) agentSelf(w http.ResponseWriter, _ *request) error {
	host, text, err := net.SplitHostPort(h.o.Address)
	if err != nil {
		host = h.o.Address
	}
	port, _ := strconv.Atoi(text) // 0 for a socket
	type object map[string]any
	return sendJSON(w, object{
		"Config": object{
			"Datacenter": h.o.Datacenter, "PrimaryDatacenter": h.o.Datacenter,
			"NodeName": h.o.NodeName, "Server": true, "Version": version,
		},
		"Member": object{
			"Name": h.o.NodeName, "Addr": host, "Port": port, "Status": 1, // alive
			"Tags": object{"build": version, "dc": h.o.Datacenter, "role": "consul"},
		},
		"Stats": object{"consul": object{"leader": "true", "leader_addr": h.o.Address, "server": "true"}},
		"Meta":  object{"consul-version": version},
	})
}
