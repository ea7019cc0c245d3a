package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kvexpress/lab/proc"
)

// Tools are the paths of a fleet's programs.
type Tools struct {
	Kvexpress, Consul, ConsulTemplate, Dnsmasq, Unshare, Setpriv string
}

// GetTools finds the programs, in .build/bin of the source tree and then on PATH, and
// builds kvexpress in dir like a release.
func GetTools(ctx context.Context, dir string) (Tools, error) {
	t := Tools{Kvexpress: filepath.Join(dir, "kvexpress")}
	root, err := filepath.Abs(".")
	if _, missing := os.Stat("scripts/build"); missing != nil || err != nil {
		return t, errors.Join(errors.New("run it at the top of the source tree of kvexpress"), missing, err)
	}
	path := []string{filepath.Join(root, ".build", "bin"), os.Getenv("PATH"), "/usr/sbin", "/sbin"}
	if err := os.Setenv("PATH", strings.Join(path, ":")); err != nil {
		return t, err
	}
	for name, path := range map[string]*string{
		"consul": &t.Consul, "consul-template": &t.ConsulTemplate, "dnsmasq": &t.Dnsmasq, "unshare": &t.Unshare, "setpriv": &t.Setpriv,
	} {
		if *path, err = exec.LookPath(name); err != nil {
			return t, fmt.Errorf("%w; \"make lab\" builds or installs it", err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "scripts", "build"), t.Kvexpress)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return t, fmt.Errorf("build kvexpress: %w\n%s", err, out)
	}
	return t, nil
}

// Ports are the same on all machines, since each has an address of its own. Servers have
// the addresses from .1, nodes those from .11.
const (
	httpPort    = 8500
	rpcPort     = 8300
	serfPort    = 8301
	dnsPort     = 5300
	firstServer = 1
	firstNode   = 11
	maxNodes    = 240
)

// network is the middle of 256 addresses in 127.0.0.0/8. There are so many that two fleets
// do not meet.
type network [2]byte

func takeNetwork() network { return network{byte(1 + rand.IntN(254)), byte(rand.IntN(256))} }

func (n network) addr(host int) string {
	return netip.AddrFrom4([4]byte{127, n[0], n[1], byte(host)}).String()
}

func (n network) hostPort(host, port int) string {
	return net.JoinHostPort(n.addr(host), strconv.Itoa(port))
}

func newClient() *http.Client {
	const atOnce = 16 // requests to one address
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce, MaxConnsPerHost: atOnce}}
}

// call sends in as JSON to Consul at addr, unless it is nil, and decodes the answer into
// out, unless that is nil. Any status but 200 is an error.
func (f *Fleet) call(ctx context.Context, addr, token, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", token)
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(answer))
	}
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, req.URL, err)
	}
	return nil
}

// manage calls a server that runs with the token that may do everything.
func (f *Fleet) manage(ctx context.Context, method, path string, in, out any) error {
	return f.call(ctx, f.up().Addr, f.tokens[management], method, path, in, out)
}

// up is the first server that runs; the first of all, if none does.
func (f *Fleet) up() *Server {
	for _, s := range f.Servers {
		if s.Consul.PID() != 0 {
			return s
		}
	}
	return f.Servers[0]
}

// Ready waits until a server knows a leader and the token with which Consul was set up.
func (f *Fleet) Ready(ctx context.Context, s *Server) error {
	return proc.Poll(ctx, "Consul on "+s.Name, func() error {
		if err := s.Consul.Alive(); err != nil {
			return err
		}
		if _, err := f.leader(ctx, s.Addr); err != nil {
			return err
		}
		return f.call(ctx, s.Addr, f.tokens[management], http.MethodGet, "/v1/acl/token/self", nil, nil)
	})
}

// leader is the address of the leader, as an agent of Consul sees it.
func (f *Fleet) leader(ctx context.Context, addr string) (leader string, err error) {
	err = f.call(ctx, addr, f.tokens[management], http.MethodGet, "/v1/status/leader", nil, &leader)
	if err == nil && leader == "" {
		err = errors.New("no leader")
	}
	return leader, err
}
