package consultest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// The ports are the same for all agents, since each has an address of its own. They are not
// Consul's usual ones, which a Consul of this machine may have on all addresses.
const (
	httpPort   = 18500
	serverPort = 18300
	serfPort   = 18301
)

// newHost is one of 16 million addresses of the loopback interface: two agents do not meet.
func newHost() string {
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// baseConfig is what every agent gets; Server.Config comes on top of it.
func (s *Server) baseConfig() map[string]any {
	c := map[string]any{
		"node_name":      "consultest-" + s.host,
		"bind_addr":      s.host,
		"advertise_addr": s.host,
		"client_addr":    s.host,
		"ports": map[string]any{
			"http": httpPort, "server": serverPort, "serf_lan": serfPort,
			"serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1, "https": -1,
		},
		"log_level": "warn",
		// A fleet of watchers in one test comes from one address. The agent
		// refuses a number above its limit of open files.
		"limits":                      map[string]any{"http_max_conns_per_client": 10_000},
		"connect":                     map[string]any{"enabled": false},
		"peering":                     map[string]any{"enabled": false},
		"disable_update_check":        true,
		"disable_anonymous_signature": true,
	}
	if s.opts.client || s.opts.expect > 0 {
		c["server"] = !s.opts.client
		c["performance"] = map[string]any{"raft_multiplier": 1}
	}
	if s.opts.expect > 0 {
		c["bootstrap_expect"] = s.opts.expect
	}
	if token := s.opts.token; token != "" {
		tokens := map[string]any{"agent": token}
		if !s.opts.client {
			tokens["initial_management"] = token
		}
		c["acl"] = map[string]any{"enabled": true, "default_policy": "deny", "tokens": tokens}
	}
	return c
}

// args are the agent's arguments. What may change between two starts, the
// agents to join, is here and not in a file.
func (s *Server) args() []string {
	args := []string{"agent", "-config-file", s.basePath(), "-config-file", s.Config}
	if s.opts.client || s.opts.expect > 0 {
		args = append(args, "-data-dir", filepath.Join(s.Dir, "data"))
	} else {
		args = append(args, "-dev")
	}
	for _, addr := range s.opts.join {
		args = append(args, "-retry-join", addr, "-retry-interval", "1s")
	}
	return args
}

func (s *Server) basePath() string { return filepath.Join(s.Dir, "base.json") }

func writeJSON(path string, value any) error {
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return os.WriteFile(path, b, 0o600)
}
