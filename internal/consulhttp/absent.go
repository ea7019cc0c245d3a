package consulhttp

import (
	"fmt"
	"net/http"
)

// area is a part of Consul's API that is not here.
type area struct {
	name     string
	patterns []string
}

func areas() []area {
	return []area{
		{"ACLs", []string{"/v1/acl/"}},
		{"agents, of which /v1/agent/self alone is here", []string{"/v1/agent/"}},
		{"catalog and health checks", []string{"/v1/catalog/", "/v1/health/", "/v1/coordinate/", "/v1/exported-services", "/v1/imported-services"}},
		{"configuration entries", []string{"/v1/config", "/v1/config/", "/v1/discovery-chain/"}},
		{"service mesh", []string{"/v1/connect/", "/v1/peering/", "/v1/peerings"}},
		{"events", []string{"/v1/event/"}},
		{"operator's tools", []string{"/v1/operator/", "/v1/internal/", "/v1/snapshot"}},
		{"prepared queries", []string{"/v1/query", "/v1/query/"}},
		{"resource API", []string{"/api/"}},
	}
}

const purpose = "kvexpress serve is the embedded store of one machine: it has Consul's KV store, transactions and sessions. For all else, use Consul."

// absent says that an area is not here.
func (h *Handler) absent(a area) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.setCommon(w)
		fail(w, status(http.StatusNotImplemented, fmt.Sprintf("%s is not here: it belongs to Consul's %s. %s", r.URL.Path, a.name, purpose)))
	}
}
