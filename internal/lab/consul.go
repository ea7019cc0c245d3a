//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// Server is a machine of the cluster: a Consul server, and consul-template under the
// lock.
type Server struct {
	Name     string
	Addr     string // host:port of Consul's API
	Consul   *Unit
	Renderer *Unit
	// Rendered is the file that consul-template writes here.
	Rendered string

	host string
}

// consulConfig is that of an agent. Those that are told apart by it have the same one.
func (l *Lab) consulConfig(name, host string) map[string]any {
	join := make([]string, 0, len(l.Servers))
	for _, s := range l.Servers {
		if s.host != host {
			join = append(join, s.host)
		}
	}
	return map[string]any{
		"node_name": name, "bind_addr": host, "advertise_addr": host, "client_addr": host,
		"data_dir":   filepath.Join(l.Dir, name, "consul"),
		"retry_join": join, "retry_interval": "1s",
		"ports": map[string]any{
			"http": httpPort, "server": rpcPort, "serf_lan": serfPort,
			"serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1, "https": -1,
		},
		"log_level": "info",
		// Programs on one machine come from one address.
		"limits":      map[string]any{"http_max_conns_per_client": 10_000},
		"performance": map[string]any{"raft_multiplier": l.raft},
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny",
			"tokens": map[string]any{"agent": l.secrets.agents[name]},
		},
		"connect":                     map[string]any{"enabled": false},
		"peering":                     map[string]any{"enabled": false},
		"disable_update_check":        true,
		"disable_anonymous_signature": true,
	}
}

// consulUnit writes the configuration and returns the agent, which does not run yet.
func (l *Lab) consulUnit(name string, config map[string]any) (*Unit, error) {
	path := filepath.Join(l.Dir, name, "consul.json")
	if err := writeJSON(path, config); err != nil {
		return nil, err
	}
	return l.unit("consul-"+name, l.hostNamed(name, l.tools.Consul, "agent", "-config-file", path)...), nil
}

// hostNamed is a command line that runs a program on a machine of this name. Locks and
// receipts go by the name that the operating system has.
func (l *Lab) hostNamed(name string, argv ...string) []string {
	return hostNamed(l.tools.Unshare, os.Geteuid() == 0, name, argv)
}

// hostNamed is the same for root, and for others, whose user namespace lets them call
// sethostname, as hostname(1) does, but not write what is root's in /proc.
func hostNamed(unshare string, root bool, name string, argv []string) []string {
	wrapper := []string{unshare, "--uts"}
	set := `echo "$0" >/proc/sys/kernel/hostname`
	if !root {
		wrapper, set = append(wrapper, "--map-root-user"), `hostname "$0"`
	}
	wrapper = append(wrapper, "sh", "-c", set+` && exec "$@"`, name)
	return append(wrapper, argv...)
}

// StartServers runs the servers until they have a leader and know all tokens. Start does
// it, too.
func (l *Lab) StartServers(ctx context.Context) error {
	l.say(fmt.Sprintf("starting %d Consul servers on %s to %s", len(l.Servers), l.Servers[0].host, l.Servers[len(l.Servers)-1].host))
	for _, s := range l.Servers {
		config := l.consulConfig(s.Name, s.host)
		config["server"], config["bootstrap_expect"] = true, len(l.Servers)
		acl, _ := config["acl"].(map[string]any)
		tokens, _ := acl["tokens"].(map[string]any)
		tokens["initial_management"] = l.secrets.management
		var err error
		if s.Consul, err = l.consulUnit(s.Name, config); err != nil {
			return err
		}
		if err := s.Consul.Start(); err != nil {
			return err
		}
	}
	for _, s := range l.Servers {
		if err := l.Ready(ctx, s); err != nil {
			return err
		}
	}
	return l.makeTokens(ctx)
}

// Ready waits until a server knows a leader and the token with which Consul was set up.
func (l *Lab) Ready(ctx context.Context, s *Server) error {
	return poll(ctx, "Consul on "+s.Name, func() error {
		if err := s.Consul.running(); err != nil {
			return err
		}
		if leader, err := l.leader(ctx, s); err != nil || leader == "" {
			return errors.Join(errors.New("no leader"), err)
		}
		return l.api.do(ctx, http.MethodGet, "http://"+s.Addr+"/v1/acl/token/self", l.secrets.management, nil, nil)
	})
}

// leader is the address of the leader, as a server sees it.
func (l *Lab) leader(ctx context.Context, s *Server) (string, error) {
	var leader string
	err := l.api.do(ctx, http.MethodGet, "http://"+s.Addr+"/v1/status/leader", l.secrets.management, nil, &leader)
	return leader, err
}

// Leader is the server that leads now, which is waited for.
func (l *Lab) Leader(ctx context.Context) (*Server, error) {
	var leader *Server
	err := poll(ctx, "a leader", func() (err error) {
		leader, err = l.leaderNow(ctx)
		return err
	})
	return leader, err
}

// leaderNow is the leader, if a server knows of one that runs.
func (l *Lab) leaderNow(ctx context.Context) (*Server, error) {
	var last error
	for _, s := range l.Servers {
		addr, err := l.leader(ctx, s)
		if err != nil {
			last = err
			continue
		}
		for _, other := range l.Servers {
			if addr == fmt.Sprintf("%s:%d", other.host, rpcPort) && other.Consul.PID() != 0 {
				return other, nil
			}
		}
		last = fmt.Errorf("%s says it is %q", s.Name, addr)
	}
	return nil, last
}

// Voters waits until each server has a vote. One that was away gets its own only when it
// has been stable for 10 s: until then Consul does not survive the loss of another one.
func (l *Lab) Voters(ctx context.Context) error {
	return poll(ctx, "all servers to have a vote", func() error {
		var raft struct {
			Servers []struct {
				Node  string
				Voter bool
			}
		}
		if err := l.api.do(ctx, http.MethodGet, "http://"+l.up().Addr+"/v1/operator/raft/configuration", l.secrets.management, nil, &raft); err != nil {
			return err
		}
		voters := 0
		for _, s := range raft.Servers {
			if s.Voter {
				voters++
			}
		}
		if voters != len(l.Servers) {
			return fmt.Errorf("%+v", raft.Servers)
		}
		return nil
	})
}

func writeJSON(path string, value any) error {
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return os.WriteFile(path, b, 0o600)
}
