package consulhttp

import (
	"net"
	"net/http"
	"strconv"
)

// statusLeader answers GET /v1/status/leader: this is the only server.
func (h *Handler) statusLeader(w http.ResponseWriter, r *request) error {
	return h.status(w, r, h.o.Address)
}

// statusPeers answers GET /v1/status/peers.
func (h *Handler) statusPeers(w http.ResponseWriter, r *request) error {
	return h.status(w, r, []string{h.o.Address})
}

func (h *Handler) status(w http.ResponseWriter, r *request, value any) error {
	if _, ok := parseOptions(w, r); !ok {
		return nil
	}
	if err := h.here(r); err != nil {
		return err
	}
	return h.sendJSON(w, r, value)
}

// agentSelf answers GET /v1/agent/self with what clients look at: who the node is, and which
// version's API it has.
func (h *Handler) agentSelf(w http.ResponseWriter, r *request) error {
	g, err := h.admit(r)
	if err != nil {
		return err
	}
	if err := g.agentRead(h.o.NodeName); err != nil {
		return err
	}
	host, port := h.address()
	type config struct {
		Datacenter, PrimaryDatacenter, NodeName, NodeID, Revision string
		Server                                                    bool
		Version, BindAddr                                         string
	}
	type member struct {
		Name, Addr string
		Port       int
		Tags       map[string]string
		Status     int // 1 is alive
	}
	return h.sendJSON(w, r, struct {
		Config config
		Member member
		Stats  map[string]map[string]string
		Meta   map[string]string
	}{
		Config: config{
			Datacenter: h.o.Datacenter, PrimaryDatacenter: h.o.Datacenter, NodeName: h.o.NodeName,
			Server: true, Version: h.o.Version, BindAddr: host,
		},
		Member: member{
			Name: h.o.NodeName, Addr: host, Port: port, Status: 1,
			Tags: map[string]string{"build": h.o.Version, "dc": h.o.Datacenter, "role": "consul"},
		},
		Stats: map[string]map[string]string{
			"build":  {"version": h.o.Version},
			"consul": {"leader": "true", "leader_addr": h.o.Address, "server": "true"},
		},
		Meta: map[string]string{"consul-version": h.o.Version},
	})
}

func (h *Handler) address() (host string, port int) {
	host, text, err := net.SplitHostPort(h.o.Address)
	if err != nil {
		return h.o.Address, 0
	}
	port, _ = strconv.Atoi(text) // 0 if it has a name
	return host, port
}
