//go:build linux

package docs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kvexpress/test/e2e"
)

// supervisor replaces systemd on a machine, and tools that would use this machine's own
// services.
type supervisor struct {
	h       *host
	ctx     context.Context // ends with the test
	mu      sync.Mutex
	running map[string]*service
}

func supervise(t *testing.T, h *host) *supervisor {
	t.Helper()
	dir, err := os.MkdirTemp("", "kx") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "tools")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"systemctl", "pkill", "getent"} {
		h.m.Script("bin/"+tool,
			fmt.Sprintf("said=$(%s=%s %s %s \"$@\")\nprintf '%%s\\n' \"$said\" | sed 1d\nexit \"$(printf '%%s\\n' \"$said\" | head -n "+
				"1)\"\n", toolEnv, socket, own, tool))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	v := &supervisor{h: h, ctx: ctx, running: map[string]*service{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			all.Go(func() { v.answer(conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		all.Wait()
		for _, s := range v.running {
			s.stop()
		}
		os.RemoveAll(dir)
		if t.Failed() {
			for unit := range v.running {
				t.Logf("the end of the log of %s on %s:\n%s", unit, h.name, lastOf(v.said(unit), 3000))
			}
		}
	})
	return v
}

func lastOf(s string, n int) string { return s[max(0, len(s)-n):] }

func (v *supervisor) answer(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(e2e.RunTime))
	var args []string
	if err := json.NewDecoder(bufio.NewReader(conn)).Decode(&args); err != nil {
		return // that is a failure of the script
	}
	said, code := "", 0
	switch {
	case args[0] == "systemctl":
		said, code = v.systemctl(args[1:])
	case slices.Equal(args, []string{"pkill", "-HUP", "dnsmasq"}):
		if !v.send("dnsmasq", syscall.SIGHUP) {
			code = 1
		}
	case args[0] == "getent" && len(args) == 3 && args[1] == "ahostsv4":
		addrs, err := v.h.ask(v.ctx, args[2])
		if err != nil {
			said, code = err.Error(), 3
		} else if len(addrs) == 0 {
			code = 2
		}
		for _, a := range addrs {
			said += a + "\n"
		}
	default:
		said, code = fmt.Sprintf("this test knows no %q", args), 1
	}
	fmt.Fprintf(conn, "%d\n%s", code, said)
}

func (v *supervisor) systemctl(args []string) (said string, code int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := strings.TrimSuffix(args[len(args)-1], ".service")
	switch verb := strings.Join(args[:len(args)-1], " "); verb {
	case "": // daemon-reload
		if name == "daemon-reload" {
			return "", 0
		}
	case "enable --now", "start", "restart", "stop", "disable --now":
		if s := v.running[name]; s != nil && (verb == "restart" || verb == "stop" || verb == "disable --now") {
			s.stop()
			delete(v.running, name)
		}
		if v.running[name] != nil || verb == "stop" || verb == "disable --now" {
			return "", 0
		}
		s, err := v.start(name)
		if err != nil {
			return err.Error(), 1
		}
		v.running[name] = s
		return "", 0
	case "reload":
		if name == "consul" && v.h.consul != nil {
			if err := v.h.reloadConsul(v.ctx); err != nil {
				return err.Error(), 1
			}
			return "", 0
		}
	}
	return fmt.Sprintf("this test knows no systemctl %q", args), 1
}

// send signals the program of a unit, and tells whether there is one.
func (v *supervisor) send(unit string, sig os.Signal) bool {
	v.mu.Lock()
	s := v.running[unit]
	v.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process != nil && s.process.Signal(sig) == nil
}

// said is the log of a unit.
func (v *supervisor) said(unit string) string {
	b, _ := os.ReadFile(v.h.m.Path(unit + ".log")) // no log yet means nothing was logged
	return string(b)
}

// reloadConsul adds the files of /etc/consul.d to the agent's configuration, and reloads it.
func (h *host) reloadConsul(ctx context.Context) error {
	config := map[string]any{}
	for _, path := range []string{h.consul.Config, h.m.Path("etc/consul.d/hosts.json")} {
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, &config)
		}
		if err != nil {
			return err
		}
	}
	b, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.consul.Config, b, 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e2e.RunTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.consul.Bin, "reload")
	cmd.Env = append(slices.Clone(h.m.Env), "CONSUL_HTTP_TOKEN="+h.consul.ManagementToken)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// ask asks the machine's dnsmasq, over UDP, for the addresses of a name.
func (h *host) ask(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, e2e.RunTime)
	defer cancel()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, h.dns.String())
	}}
	addrs, err := r.LookupNetIP(ctx, "ip4", name+".")
	if no := (*net.DNSError)(nil); errors.As(err, &no) && no.IsNotFound {
		return nil, nil
	}
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all, err
}

// knows waits until the machine's dnsmasq knows a service, or does not.
func (h *host) knows(service string, want bool) {
	h.t.Helper()
	var last string
	defer func() {
		if h.t.Failed() {
			h.t.Logf("%s answered %s last", h.name, last)
		}
	}()
	e2e.Eventually(h.t, fmt.Sprintf("%s knows %s: %v", h.name, service, want), func() bool {
		addrs, err := h.ask(h.t.Context(), service+".svc.example")
		last = fmt.Sprint(addrs, err)
		return err == nil && (len(addrs) > 0) == want
	})
}

// loopback is a random address of the loopback interface.
func loopback() net.IP {
	return net.IPv4(127, byte(10+rand.IntN(240)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
}

// translate puts the machine's own folders and addresses in the place of the page's.
func (h *host) translate(t *testing.T, text string) string {
	t.Helper()
	pairs := []string{
		"/etc/", h.m.Path("etc") + "/", "/run/", h.m.Path("run") + "/",
		"port=53\n", "port=" + strconv.Itoa(h.dns.Port) + "\n", "listen-address=127.0.0.1", "listen-address=" + h.dns.IP.String(),
		"web-1", e2e.Hostname(t),
	}
	if h.consul != nil {
		pairs = append(pairs, "127.0.0.1:8500", h.consul.Addr)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
