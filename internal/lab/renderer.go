//go:build linux

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// Key is that of the hosts file.
	Key = "hosts"
	// Domain is that of all names in it.
	Domain = "lab.test"
	// tag is what services have that are to be in it.
	tag = "dns"
)

// FQDN is the name of a service in DNS.
func FQDN(service string) string { return service + "." + Domain }

// hostsTemplate is a line for each instance of each service.
const hostsTemplate = `127.0.0.1 localhost
{{- range services }}{{ if .Tags | contains "` + tag + `" }}{{ range service .Name }}
{{ .Address }} {{ .Name }}.` + Domain + `{{ end }}{{ end }}{{ end }}
`

// How consul-template asks: as it does if nobody says otherwise, which is any server; or
// the leader, who hears of a change 50 to 100 ms before the others; for the list of services,
// that is, since a service's instances Consul streams from any.
const (
	askAny    = ""
	askLeader = "max_stale = \"0s\"\n"
)

// templateUnit is a consul-template that renders the hosts file to a destination and
// runs a command when it has changed.
func (l *Lab) templateUnit(name, dir, addr, ask, destination string, command []string) (*Unit, error) {
	source, config := filepath.Join(dir, "hosts.ctmpl"), filepath.Join(dir, "consul-template.hcl")
	quoted := make([]string, len(command))
	for i, word := range command {
		quoted[i] = strconv.Quote(word)
	}
	text := fmt.Sprintf(`consul {
  address = %q
}
%s# consul lock ends it with SIGTERM, which it does not heed by itself.
kill_signal = "SIGTERM"
template {
  source          = %q
  destination     = %q
  perms           = 0644
  command         = [%s]
  command_timeout = "60s"
}
`, addr, ask, source, destination, strings.Join(quoted, ", "))
	for path, content := range map[string]string{source: hostsTemplate, config: text} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	u := l.unit(name, l.tools.ConsulTemplate, "-log-level=info", "-config", config)
	u.Env = []string{"CONSUL_TOKEN=" + l.secrets.roles[Renderer], "CONSUL_HTTP_TOKEN=" + l.secrets.roles[Renderer]}
	u.Restart = true
	return u, nil
}

// prepareRenderer is consul-template on a server, which runs while it has the lock.
func (l *Lab) prepareRenderer(s *Server, keepOrphan bool) error {
	dir := filepath.Join(l.Dir, s.Name)
	in := []string{l.tools.Kvexpress, "in", "-s", s.Addr, "--token-file", filepath.Join(l.Dir, "tokens", string(Publisher)), "-k", Key, "-f", s.Rendered, "--sorted", "-l", strconv.Itoa(minLines)}
	template, err := l.templateUnit("renderer-"+s.Name, dir, s.Addr, askLeader, s.Rendered, in)
	if err != nil {
		return err
	}
	lock := []string{l.tools.Consul, "lock", "-http-addr", s.Addr, "-n", "1", "-shell=false", "-name", "hosts renderer", lockPrefix}
	if !keepOrphan {
		// The kernel ends consul lock with a lab that is killed, and this with consul lock.
		lock = append(lock, l.tools.Setpriv, "--pdeathsig", "KILL")
	}
	template.Argv = l.hostNamed(s.Name, append(lock, template.Argv...)...)
	template.KeepOrphans = keepOrphan
	s.Renderer = template
	return nil
}

// Holder is the server whose consul-template runs, since it has the lock; nil: none.
func (l *Lab) Holder() *Server {
	for _, s := range l.Servers {
		// consul-template is what the lock started.
		if len(s.Renderer.PIDs()) > 1 {
			return s
		}
	}
	return nil
}
