//go:build linux

package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

// hostsSite is the cluster of docs/hosts-file.md. Of its three servers two are there,
// the second as a client of Consul: the steps on it are the same.
type hostsSite struct {
	t            *testing.T
	token        string // Consul's management token
	own          *host
	servers      []*host
	watch, agent *host
}

// newHostsSite has a catalog of 30 instances of db, Consul itself, and nothing else.
func newHostsSite(t *testing.T) *hostsSite {
	t.Helper()
	if e2e.Program.Err != nil {
		t.Fatal(e2e.Program.Err)
	}
	acl := consultest.WithACL()
	s := &hostsSite{t: t}
	srv1 := newHost(t, "srv-1", acl, consultest.WithServer(1))
	s.token = srv1.consul.ManagementToken
	client := func(name string) *host {
		return newHost(t, name, acl, consultest.WithClientOf(srv1.consul))
	}
	s.servers = []*host{srv1, client("srv-2")}
	// A watch's `out` reports as the host's name, which is not ours to choose.
	s.watch, s.agent = client("web-1"), client("web-2")
	s.own = newHost(t, "")
	s.own.m.Env = append(s.own.m.Env, "CONSUL_HTTP_ADDR="+srv1.consul.Addr)
	catalog := &e2e.Store{T: t, Server: srv1.consul, Token: s.token}
	for i := range 30 {
		body := fmt.Sprintf(`{"Node": "db-%d", "Address": "192.0.2.%d", "Service": {"Service": "db", "Port": 5432}}`, i, 100+i)
		if status, answer := catalog.Request(http.MethodPut, "/v1/catalog/register", []byte(body)); status != http.StatusOK {
			t.Fatalf("register db-%d: %d %s", i, status, answer)
		}
	}
	return s
}

// on are the machines that the page means.
func (s *hostsSite) on(name string) []*host {
	switch name {
	case "your own machine":
		return []*host{s.own}
	case "each server":
		return s.servers
	case "each node":
		return []*host{s.watch, s.agent}
	case "web-1":
		return []*host{s.watch}
	case "web-2":
		return []*host{s.agent}
	}
	s.t.Fatalf("the page speaks of %q", name)
	return nil
}

// follow takes one step of the page.
func (s *hostsSite) follow(step hostsStep) {
	s.t.Helper()
	for _, h := range s.on(step.on) {
		text := h.translate(s.t, step.text)
		if step.file == "" {
			s.sh(h, text)
			continue
		}
		mode := os.FileMode(0o644)
		if name, ok := strings.CutPrefix(strings.TrimSpace(text), "token "); ok {
			text, mode = s.own.m.Read(name), 0o600
		}
		if filepath.Base(step.file) == "agent.yml" {
			if err := os.MkdirAll(filepath.Dir(h.m.Socket("agent")), 0o755); err != nil {
				s.t.Fatal(err)
			}
			text = fmt.Sprintf("node: %s\nstate_dir: %s\nlisten: %s\n", h.name, h.m.Path("state"), h.m.Socket("agent")) + text
		}
		path := h.translate(s.t, step.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			s.t.Fatal(err)
		}
	}
}

// sh runs commands on a machine, with a token that may do all. Programs that these commands
// start do not get it.
func (s *hostsSite) sh(h *host, script string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), e2e.RunTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = h.m.Dir, append(h.m.Env, "CONSUL_HTTP_TOKEN="+s.token)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("on %s\n%s\nends with: %v\n%s", h.name, script, err, out)
	}
}

// knows waits until the dnsmasqs of both nodes know a service, or do not.
func (s *hostsSite) knows(service string, want bool) {
	s.t.Helper()
	s.watch.knows(service, want)
	s.agent.knows(service, want)
}

// holder waits for a server that renders.
func (s *hostsSite) holder() (holder, other *host) {
	s.t.Helper()
	e2e.Eventually(s.t, "one server renders", func() bool {
		first, second := s.servers[0].renders(), s.servers[1].renders()
		holder, other = s.servers[0], s.servers[1]
		if second {
			holder, other = other, holder
		}
		return first != second
	})
	return holder, other
}

func (h *host) renders() bool { return h.m.Read("run/hosts-renderer/hosts") != "" }

// version is the one that is published.
func (s *hostsSite) version() uint64 {
	s.t.Helper()
	said := s.own.m.With("CONSUL_HTTP_TOKEN="+s.token).Ok("history", "-k", "hosts", "--json")
	var live struct {
		Version uint64 `json:"version"`
	}
	if err := json.Unmarshal([]byte(said), &live); err != nil || live.Version == 0 {
		s.t.Fatalf("%v: %s", err, said)
	}
	return live.Version
}

// host is a machine of the page with a Consul agent, a systemd and a dnsmasq.
type host struct {
	t      *testing.T
	m      *e2e.Machine
	name   string
	consul *consultest.Server // nil: it has none
	dns    net.UDPAddr
	*supervisor
}

// newHost makes a machine and starts its Consul, if it has a name.
func newHost(t *testing.T, name string, opts ...consultest.Option) *host {
	t.Helper()
	m := &e2e.Machine{T: t, Dir: t.TempDir()}
	h := &host{t: t, m: m, name: name, dns: net.UDPAddr{IP: loopback(), Port: 5300}}
	for _, dir := range []string{"bin", "etc/consul.d", "etc/dnsmasq.d", "etc/kvexpress", "etc/systemd/system"} {
		if err := os.MkdirAll(m.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	repository, err := filepath.Abs("../../../systemd")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(repository, m.Path("systemd")); err != nil {
		t.Fatal(err)
	}
	m.Script("bin/kvexpress", fmt.Sprintf(`case "$1" in
out) exec %[1]s "$@" --state-dir %[2]s ;;
agent) case "$*" in *" -C "*) ;; *) set -- "$@" -C %[3]s ;; esac ;;
esac
exec %[1]s "$@"
`, e2e.Program.Path, m.Path("state"), m.Path("etc/kvexpress/agent.yml")))
	path := "PATH=" + strings.Join([]string{
		m.Path("bin"), os.Getenv("PATH"), "/usr/sbin", filepath.Dir(consultest.Binary(t)), filepath.Dir(e2e.FindConsulTemplate(t)),
	}, ":")
	m.Env = append(e2e.Quiet(m.Dir), path)
	if name != "" {
		h.consul = consultest.Start(t, append(opts, consultest.WithConfig(map[string]any{
			"node_name": name, "acl": map[string]any{"policy_ttl": "1s", "token_ttl": "1s"}, // rights change here
		}), consultest.WithEnv(m.Env...))...)
		m.Env = append(m.Env, "CONSUL_HTTP_ADDR="+h.consul.Addr)
		// A watch's handler has Consul's environment, and finds it at the usual place.
		text := m.Read("bin/kvexpress")
		m.Script("bin/kvexpress",
			strings.TrimPrefix(strings.Replace(text, "case", "export CONSUL_HTTP_ADDR="+h.consul.Addr+"\ncase", 1), "#!/bin/sh\n"))
	}
	// --no-daemon: it stays the user it is, and so ends with this program however that ends.
	m.File("etc/systemd/system/dnsmasq.service",
		"[Service]\nExecStart=dnsmasq --no-daemon --pid-file= --conf-file="+m.Path("etc/dnsmasq.d/hosts.conf")+"\n")
	h.supervisor = supervise(t, h)
	return h
}
