package hosts

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kvexpress/lab/proc"
)

const (
	// Key is the key of the hosts file.
	Key = "hosts"
	// KeyAdHoc is the key of a file from a URL.
	KeyAdHoc = "adhoc"
	// domain is the domain of all names in it, and tag the tag of its services.
	domain = "lab.test"
	tag    = "dns"
)

// FQDN is the name of a service in DNS.
func FQDN(service string) string { return service + "." + domain }

// hostsTemplate is a line for each instance of each service.
const hostsTemplate = `127.0.0.1 localhost
{{- range services }}{{ if .Tags | contains "` + tag + `" }}{{ range service .Name }}
{{ .Address }} {{ .Name }}.` + domain + `{{ end }}{{ end }}{{ end }}
`

// Server is a machine of the cluster: a Consul server, and consul-template under the lock.
type Server struct {
	Name     string
	Addr     string // host:port of Consul's API
	Consul   *proc.Unit
	Renderer *proc.Unit
	Rendered string // the file that consul-template writes here

	host string
}

func (f *Fleet) newServer(i int) *Server {
	s := &Server{Name: fmt.Sprintf("server-%d", i+1), host: f.net.addr(firstServer + i)}
	s.Addr = f.net.hostPort(firstServer+i, httpPort)
	s.Rendered = filepath.Join(f.Dir, s.Name, "out", "hosts")
	return s
}

func (f *Fleet) prepareServer(s *Server) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.Rendered), 0o700); err != nil {
		return err
	}
	config := f.consulConfig(s.Name, s.host)
	config["server"], config["bootstrap_expect"] = true, len(f.Servers)
	if s.Consul, err = f.consulUnit(s.Name, config); err != nil {
		return err
	}
	return f.prepareRenderer(s)
}

// prepareRenderer makes the consul-template of a server, under the lock. It renders the hosts file, and publishes it when
// it has changed.
func (f *Fleet) prepareRenderer(s *Server) error {
	source, config := filepath.Join(f.Dir, s.Name, "hosts.ctmpl"), filepath.Join(f.Dir, s.Name, "consul-template.hcl")
	in := []string{
		f.Tools.Kvexpress, "in", "-s", s.Addr, "--token-file", f.TokenFile(Publisher), "-k", Key,
		"-f", s.Rendered, "--sorted", "-l", strconv.Itoa(minLines),
	}
	argv, err := json.Marshal(in) // a list of strings is the same in HCL
	text := fmt.Sprintf(`consul {
  address = %q
}
# The leader hears of a change 50 to 100 ms before the other servers.
max_stale = "0s"
# consul lock ends it with SIGTERM, which it does not heed by itself.
kill_signal = "SIGTERM"
template {
  source          = %q
  destination     = %q
  perms           = 0644
  command         = %s
  command_timeout = "60s"
}
`, s.Addr, source, s.Rendered, argv)
	// The kernel ends consul lock with a lab that is killed, and setpriv's program with consul lock.
	s.Renderer = f.unit("renderer-"+s.Name, f.hostNamed(s.Name,
		f.Tools.Consul, "lock", "-http-addr", s.Addr, "-n", "1", "-shell=false", "-name", "hosts renderer", lockPrefix,
		f.Tools.Setpriv, "--pdeathsig", "KILL", f.Tools.ConsulTemplate, "-log-level=info", "-config", config)...)
	s.Renderer.Env = []string{"CONSUL_TOKEN=" + f.tokens[Renderer], "CONSUL_HTTP_TOKEN=" + f.tokens[Renderer]}
	s.Renderer.Restart = true
	s.Renderer.Remove = s.Rendered // else consul-template does not try again what kvexpress in refused
	return errors.Join(err, os.WriteFile(source, []byte(hostsTemplate), 0o600), os.WriteFile(config, []byte(text), 0o600))
}

// consulConfig is the configuration of a Consul agent.
func (f *Fleet) consulConfig(name, host string) map[string]any {
	var join []string
	for _, s := range f.Servers {
		if s.host != host {
			join = append(join, s.host)
		}
	}
	return map[string]any{
		"node_name": name, "bind_addr": host, "advertise_addr": host, "client_addr": host, "server": false,
		"data_dir": filepath.Join(f.Dir, name, "consul"), "retry_join": join, "retry_interval": "1s", "log_level": "info",
		"ports": map[string]any{
			"http": httpPort, "server": rpcPort, "serf_lan": serfPort,
			"serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1, "https": -1,
		},
		"limits":      map[string]any{"http_max_conns_per_client": 10_000},               // all programs have one address
		"performance": map[string]any{"raft_multiplier": 1 + 4*min(1, f.Options.Agents)}, // patient beside a thousand agents
		"acl": map[string]any{
			"enabled": true, "default_policy": "deny",
			"tokens": map[string]any{"agent": f.tokens[agentOf(name)], "initial_management": f.tokens[management]},
		},
		"connect":              map[string]any{"enabled": false},
		"peering":              map[string]any{"enabled": false},
		"disable_update_check": true, "disable_anonymous_signature": true,
	}
}

// Holder is the server whose consul-template runs, since it has the lock; nil: none.
func (f *Fleet) Holder() *Server {
	for _, s := range f.Servers {
		if len(s.Renderer.PIDs()) > 1 { // consul lock, and what it started
			return s
		}
	}
	return nil
}

// commandLine is a command for -e of kvexpress, each word in double quotes.
func commandLine(argv []string) string { return strings.Trim(fmt.Sprintf("%q", argv), "[]") }

func writeJSON(path string, value any) error {
	b, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
