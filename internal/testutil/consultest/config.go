package consultest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// baseConfig is what every agent gets; Server.Config comes on top of it.
func baseConfig(o options, p *ports) map[string]any {
	c := map[string]any{
		"node_name":      fmt.Sprintf("consultest-%d", p.http),
		"bind_addr":      o.bind,
		"advertise_addr": o.bind,
		"client_addr":    o.bind,
		"ports": map[string]any{
			"http": p.http, "server": p.server, "serf_lan": p.serf,
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
	if o.client || o.expect > 0 {
		c["server"] = !o.client
		c["performance"] = map[string]any{"raft_multiplier": 1}
	}
	if !o.client && o.expect > 0 {
		c["bootstrap_expect"] = o.expect
	}
	if o.token != "" {
		tokens := map[string]any{"agent": o.token}
		if !o.client {
			tokens["initial_management"] = o.token
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
		args = append(args, "-retry-join", addr)
	}
	if len(s.opts.join) > 0 {
		args = append(args, "-retry-interval", "1s")
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
