//go:build linux

package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

// Cluster is three Consul servers with data folders, on addresses of their own. It
// takes seconds to start one, so several faults share it, each under a prefix of
// its own.
type Cluster struct {
	T       testing.TB
	Servers []*consultest.Server
}

// StartCluster starts one, until the test ends.
func StartCluster(t testing.TB, opts ...consultest.Option) *Cluster {
	t.Helper()
	// A server that was killed gets its vote as soon as it is back: the next server is
	// killed before Consul would trust it by default.
	opts = append(opts, consultest.WithConfig(map[string]any{"autopilot": map[string]any{
		"cleanup_dead_servers": false, "server_stabilization_time": "100ms",
	}}))
	return &Cluster{T: t, Servers: consultest.Cluster(t, 3, opts...)}
}

// Leader is the number of the leader, as one of the servers reports it.
func (c *Cluster) Leader(ask int) int {
	c.T.Helper()
	found := -1
	Eventually(c.T, "the cluster has a leader", func() bool {
		_, answer, err := c.Servers[ask].Request("GET", "/v1/status/leader", "", nil)
		if err != nil {
			return false
		}
		host, _, _ := net.SplitHostPort(strings.Trim(strings.TrimSpace(string(answer)), `"`))
		for i, s := range c.Servers {
			if own, _, _ := net.SplitHostPort(s.Addr); own == host {
				found = i
			}
		}
		return found >= 0
	})
	return found
}

// Others are the numbers of the servers but this one.
func (c *Cluster) Others(but int) []int {
	var all []int
	for i := range c.Servers {
		if i != but {
			all = append(all, i)
		}
	}
	return all
}

// Site is a fault's own part of a cluster: a prefix, and a machine that uses one
// of the servers.
type Site struct {
	*Machine
	Store  *Store
	Client *consul.Store
	Layout kv.Layout
	Prefix string
}

// Site makes one at a server.
func (c *Cluster) Site(t testing.TB, server int) *Site {
	t.Helper()
	s := c.Servers[server]
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
	return &Site{
		Machine: NewMachine(t, s.Addr, env...), Store: &Store{T: t, Server: s, Token: s.ManagementToken},
		Client: client, Layout: layout, Prefix: prefix,
	}
}

// Row is the path of a row of a key.
func (x *Site) Row(key, name string) string { return x.Prefix + "/" + key + "/" + name }

// Publish publishes content, and returns the version.
func (x *Site) Publish(key, content string) uint64 {
	x.T.Helper()
	p := publish.Publisher{Store: x.Client, Layout: x.Layout, By: "test@e2e"}
	r, err := p.Publish(x.T.Context(), publish.Request{Key: kv.Key(key), Content: []byte(content), IgnoreStop: true})
	if err != nil {
		x.T.Fatal(err)
	}
	return r.Version
}

// ConfigWith writes the configuration of an agent of this site that asks the stores at
// addrs; none is the site's server.
func (x *Site) ConfigWith(name string, more Fields, addrs []string, targets ...Fields) {
	x.T.Helper()
	if len(addrs) == 0 {
		addrs = []string{x.Store.Server.Addr}
	}
	all := Fields{"prefix": x.Prefix, "stores": addrs, "node": name}
	for k, v := range more {
		all[k] = v
	}
	x.Configure(name, all, targets...)
}

// Parts are tests that run at the same time, by their names.
type Parts map[string]func(*testing.T)

// Together runs parts at the same time. Parallel would let as many run as there are
// processors, and these wait for most of their time.
func Together(t *testing.T, parts Parts) {
	t.Helper()
	var all sync.WaitGroup
	for name, run := range parts {
		all.Go(func() { t.Run(name, run) })
	}
	all.Wait()
}

// Pause waits for a time. Use it only if the time itself matters.
func Pause(d time.Duration) { <-time.After(d) }

// Version makes different content for every number.
func Version(n int) string { return Text(fmt.Sprintf("version-%d", n), 20) }
