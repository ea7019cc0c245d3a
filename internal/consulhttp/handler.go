package consulhttp

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"kvexpress/internal/longpoll"
	"kvexpress/internal/store/local"
)

// Options are what New needs. Only Engine must be there.
type Options struct {
	Engine     *local.Engine
	ACL        ACL              // nil: everybody may do everything
	NodeName   string           // of this machine, as sessions have it; "localhost" if empty
	Datacenter string           // the only one that requests may name; "dc1" if empty
	Version    string           // what the agent says it is; DefaultVersion if empty
	Address    string           // host:port, which is told as that of the leader
	Server     *longpoll.Server // what the handler is served by; nil: any other, at a higher price for queries that wait
}

// DefaultVersion is the Consul whose API this is, and whose it is not.
const DefaultVersion = "1.22.5+kvexpress"

// Handler answers requests. It is safe for concurrent use.
type Handler struct {
	engine *local.Engine
	acl    ACL
	o      Options
	mux    *http.ServeMux
	cache  cache
	gzips  gzips
}

// New returns the handler of a store.
func New(o Options) *Handler {
	o.NodeName = withDefault(o.NodeName, "localhost")
	o.Datacenter = withDefault(o.Datacenter, "dc1")
	o.Version = withDefault(o.Version, DefaultVersion)
	o.Address = withDefault(o.Address, "127.0.0.1:8500")
	h := &Handler{engine: o.Engine, acl: o.ACL, o: o, mux: http.NewServeMux(), gzips: newGzips()}
	h.mux.HandleFunc("/", index)
	for _, route := range h.routes() {
		h.mux.HandleFunc(route.pattern, h.wrap(route))
	}
	for _, area := range areas() {
		for _, pattern := range area.patterns {
			h.mux.HandleFunc(pattern, h.absent(area))
		}
	}
	return h
}

func withDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.ContainsFunc(r.URL.Path, func(c rune) bool { return !unicode.IsPrint(c) }) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// route is an endpoint of Consul's.
type route struct {
	pattern string
	methods []string
	serve   func(http.ResponseWriter, *request) error
}

func (h *Handler) routes() []route {
	get, put := []string{http.MethodGet}, []string{http.MethodPut}
	return []route{
		{"/v1/kv/", []string{http.MethodGet, http.MethodPut, http.MethodDelete}, h.kv},
		{"/v1/txn", put, h.txn},
		{"/v1/session/create", put, h.sessionCreate},
		{"/v1/session/destroy/", put, h.sessionDestroy},
		{"/v1/session/renew/", put, h.sessionRenew},
		{"/v1/session/info/", get, h.sessionInfo},
		{"/v1/session/node/", get, h.sessionNode},
		{"/v1/session/list", get, h.sessionList},
		{"/v1/status/leader", get, h.statusLeader},
		{"/v1/status/peers", get, h.statusPeers},
		{"/v1/agent/self", get, h.agentSelf},
	}
}

// request is a request whose query was read once.
type request struct {
	*http.Request
	params url.Values
}

func (r *request) has(param string) bool { return r.params.Has(param) }

// wrap does what Consul does around each of its endpoints.
func (h *Handler) wrap(rt route) http.HandlerFunc {
	allow := strings.Join(append([]string{http.MethodOptions}, rt.methods...), ",")
	return func(w http.ResponseWriter, r *http.Request) {
		h.setCommon(w)
		params, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			w.Header().Set("Content-Type", plainText)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		switch {
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allow)
			w.Header().Set("Content-Type", jsonText+"; charset=utf-8")
			return
		case !slices.Contains(rt.methods, r.Method):
			w.Header().Set("Allow", allow)
			fail(w, status(http.StatusMethodNotAllowed, "method "+r.Method+" not allowed"))
			return
		}
		if err := rt.serve(w, &request{Request: r, params: params}); err != nil {
			fail(w, err)
		}
	}
}

// setCommon sets the headers that all of Consul's endpoints send.
func (h *Handler) setCommon(w http.ResponseWriter) {
	w.Header().Set("Vary", "Accept-Encoding")
	policy := "allow"
	if h.acl != nil {
		policy = h.acl.DefaultPolicy()
	}
	w.Header().Set("X-Consul-Default-Acl-Policy", policy)
}

// index answers what is no endpoint of Consul's.
func index(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/":
		write(w, http.StatusOK, "kvexpress serve: the part of Consul's HTTP API that one machine needs for its keys. There is no UI.")
	case strings.Contains(r.URL.Path, "/v1/"):
		write(w, http.StatusNotFound, "Invalid URL path: not a recognized HTTP API endpoint\n")
	default:
		write(w, http.StatusNotFound, "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n")
	}
}
