//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/consultest"
	"kvexpress/internal/freeze"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
)

// cluster is three Consul servers with data folders, on addresses of their own. It
// takes seconds to start one, so several faults share it, each under a prefix of
// its own.
type cluster struct {
	t       testing.TB
	servers []*consultest.Server
}

func startCluster(t testing.TB, opts ...consultest.Option) *cluster {
	t.Helper()
	// A server that was killed is to have its vote as soon as it is back: the next one
	// is killed before Consul would trust it again.
	opts = append(opts, consultest.WithConfig(map[string]any{"autopilot": map[string]any{
		"cleanup_dead_servers": false, "server_stabilization_time": "100ms",
	}}))
	return &cluster{t: t, servers: consultest.Cluster(t, 3, 0, opts...)}
}

// leader is the number of the server that the others follow, as one of them says.
func (c *cluster) leader(ask int) int {
	c.t.Helper()
	found := -1
	eventually(c.t, "the cluster has a leader", func() bool {
		_, answer, err := c.servers[ask].Request("GET", "/v1/status/leader", "", nil)
		if err != nil {
			return false
		}
		host, _, _ := net.SplitHostPort(strings.Trim(strings.TrimSpace(string(answer)), `"`))
		for i, s := range c.servers {
			if own, _, _ := net.SplitHostPort(s.Addr); own == host {
				found = i
			}
		}
		return found >= 0
	})
	return found
}

// others are the numbers of the servers but this one.
func (c *cluster) others(but int) []int {
	var all []int
	for i := range c.servers {
		if i != but {
			all = append(all, i)
		}
	}
	return all
}

// site is a fault's own part of a cluster: a prefix, and a machine that talks to one
// of the servers.
type site struct {
	*machine
	store  *store
	client *consul.Store
	layout kv.Layout
	prefix string
}

// site makes one at a server.
func (c *cluster) site(t testing.TB, server int) *site {
	t.Helper()
	s := c.servers[server]
	prefix := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	layout, err := kv.NewLayout(prefix)
	if err != nil {
		t.Fatal(err)
	}
	client, err := consul.New(consul.Options{Addr: s.Addr, Token: s.ManagementToken})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"CONSUL_HTTP_TOKEN=" + s.ManagementToken}
	return &site{
		machine: newMachine(t, s.Addr, env...), store: &store{t: t, server: s, token: s.ManagementToken},
		client: client, layout: layout, prefix: prefix,
	}
}

// row is the path of a row of a key.
func (x *site) row(key, name string) string { return x.prefix + "/" + key + "/" + name }

func (x *site) publisher() *publish.Publisher {
	return &publish.Publisher{Store: x.client, Layout: x.layout, By: "test@e2e"}
}

// publish publishes content, and returns the version.
func (x *site) publish(key, content string) uint64 {
	x.t.Helper()
	r, err := x.publisher().Publish(x.t.Context(), publish.Request{Key: kv.Key(key), Content: []byte(content), IgnoreStop: true})
	if err != nil {
		x.t.Fatal(err)
	}
	return r.Version
}

func (x *site) freezer() freeze.Freezer {
	host, err := os.Hostname()
	if err != nil {
		x.t.Fatal(err)
	}
	return freeze.Freezer{Store: x.client, Layout: x.layout, Host: host}
}

// config writes the configuration of an agent of this site that asks the stores at
// addrs; none is the site's server.
func (x *site) config(name string, addrs []string, targets ...fields) {
	x.t.Helper()
	x.configWith(name, fields{}, addrs, targets...)
}

func (x *site) configWith(name string, more fields, addrs []string, targets ...fields) {
	x.t.Helper()
	if len(addrs) == 0 {
		addrs = []string{x.store.server.Addr}
	}
	all := fields{"prefix": x.prefix, "stores": addrs, "node": name}
	for k, v := range more {
		all[k] = v
	}
	x.configure(name, all, targets...)
}

// to is a target that puts a key into a file of the same name, with more fields.
func (x *site) to(key string, more ...fields) fields {
	f := fields{"key": key, "file": x.path(key)}
	for _, m := range more {
		for k, v := range m {
			f[k] = v
		}
	}
	return f
}

// hashes makes an exec that notes the SHA-256 of the files at the moment it runs.
func (x *site) hashes(name string, files ...string) string {
	x.t.Helper()
	var paths []string
	for _, f := range files {
		paths = append(paths, x.path(f))
	}
	return x.script(name+".sh", "exec sha256sum "+strings.Join(paths, " ")+" >>"+x.path(name+".ran")+"\n")
}

// ran is for which bytes of a file such an exec ran, in order.
func (x *site) ran(name, file string) []string {
	x.t.Helper()
	var all []string
	for _, line := range strings.Split(x.read(name+".ran"), "\n") {
		if sha, path, ok := strings.Cut(line, "  "); ok && path == x.path(file) {
			all = append(all, sha)
		}
	}
	return all
}

// ranLast reports whether the last run of such an exec was for this content.
func (x *site) ranLast(name, file, content string) bool {
	x.t.Helper()
	all := x.ran(name, file)
	return len(all) > 0 && all[len(all)-1] == sum(content)
}

func (x *site) remove(name string) {
	x.t.Helper()
	if err := os.Remove(x.path(name)); err != nil {
		x.t.Fatal(err)
	}
}

// litter is what was left behind of staged files, ours and the state's.
func (x *site) litter() []string {
	x.t.Helper()
	var all []string
	err := filepath.WalkDir(x.dir, func(path string, _ os.DirEntry, err error) error {
		if base := filepath.Base(path); err == nil && (strings.HasPrefix(base, ".kvexpress-") || strings.HasSuffix(base, ".new")) {
			all = append(all, path)
		}
		return nil // what is gone in between is no litter
	})
	if err != nil {
		x.t.Fatal(err)
	}
	return all
}

// part is one of several tests that run at the same time.
type part struct {
	name string
	run  func(*testing.T)
}

// together runs parts at the same time. Parallel would let as many run as there are
// processors, and these wait for most of their time.
func together(t *testing.T, parts ...part) {
	t.Helper()
	var all sync.WaitGroup
	for _, p := range parts {
		all.Go(func() { t.Run(p.name, p.run) })
	}
	all.Wait()
}

// loop does something again and again in the background. The function that it
// returns ends that, and waits for it.
func loop(t testing.TB, do func(ctx context.Context, i int)) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var one sync.WaitGroup
	one.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			do(ctx, i)
		}
	})
	end = sync.OnceFunc(func() { cancel(); one.Wait() })
	t.Cleanup(end)
	return end
}

// pause waits, where it is the time itself that matters.
func pause(d time.Duration) { <-time.After(d) }

// version makes different content for every number.
func version(n int) string { return text(fmt.Sprintf("version-%d", n), 20) }
