//go:build linux

package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/e2e"
)

// fronts gives the tests of Consul's Go client what they take for Consul agents. Each
// test starts one by a program "consul", this test program (see asConsul), which asks
// here for it: a `kvexpress serve` of its own, on the port that the test chose.
type fronts struct {
	dir    string   // for the start of PATH: it holds "consul"
	env    []string // for the environment of the suite
	folder string

	mu      sync.Mutex
	started int
}

// newFronts answers until the test ends.
func newFronts(t *testing.T) *fronts {
	t.Helper()
	f := &fronts{dir: t.TempDir(), folder: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(f.dir, "consul")); err != nil {
		t.Fatal(err)
	}
	// The folder of a test can be too long a path for a socket.
	socket := filepath.Join(filepath.Dir(e2e.Program.Path), e2e.Sum(f.dir)[:16]+".sock")
	f.env = []string{asConsulEnv + "=" + socket}
	ctx, cancel := context.WithCancel(context.Background())
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test ended
			}
			all.Go(func() { f.answer(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		all.Wait()
	})
	return f
}

// served is how many agents were started so far.
func (f *fronts) served() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started
}

// answer is one agent: it lives as long as the other side keeps its half of the
// connection.
func (f *fronts) answer(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReader(conn)
	path, err := in.ReadString('\n')
	if err != nil {
		return
	}
	end, err := f.agent(strings.TrimSpace(path))
	if err != nil {
		fmt.Fprintln(conn, err)
		return
	}
	_, _ = io.Copy(io.Discard, in) // until it is told to end, or was killed
	end()
}

// agentConfig is what a front heeds of an agent's configuration.
type agentConfig struct {
	NodeName string `json:"node_name"`
	Ports    struct {
		HTTP int `json:"http"`
	} `json:"ports"`
}

// agent starts a serve, and its front on the port of the configuration.
func (f *fronts) agent(path string) (end func(), err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var config agentConfig
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", config.Ports.HTTP))
	if err != nil {
		return nil, err
	}
	s, err := startServe(f.folder, "--node", config.NodeName)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: passOn(s.addr, config.NodeName), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // until Close
	}()
	f.mu.Lock()
	f.started++
	f.mu.Unlock()
	return func() {
		_ = server.Close()
		<-served
		s.kill()
	}, nil
}

// passOn hands every request to serve but three. With those the suite's set-up waits for
// parts of Consul that have nothing to do with what its tests are about, and that serve
// does not have: a certificate authority, and the node's health in the catalog.
func passOn(addr, node string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	type entries []map[string]any
	own := map[string]any{
		"/v1/agent/connect/ca/roots": map[string]any{"ActiveRootID": "none", "Roots": entries{{"ID": "none"}}},
		"/v1/catalog/nodes":          entries{{"Node": node}},
		"/v1/health/node/" + node:    entries{{"Node": node, "CheckID": "serfHealth", "Status": "passing"}},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := own[r.URL.Path]
		if !ok || r.Method != http.MethodGet {
			proxy.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the client may be gone
	})
}
