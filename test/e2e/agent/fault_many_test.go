//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/config"
	"kvexpress/internal/install"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
	"kvexpress/test/e2e"
)

// agentsThatReconnect: a store comes back, and many agents reconnect, not all at once. The
// agents are in this process: 200 processes would need too much memory. Without jitter, all
// requests would come within 250 ms.
func agentsThatReconnect(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	w := newWire(t, x.Store.Server.Addr)
	x.Publish("hosts", e2e.Version(1))
	agents := e2e.Times(200)
	end := crowd(x, w.addr, agents)
	defer end()
	crowdHas := func(n int) bool {
		for i := range agents {
			if x.Read(fmt.Sprintf("hosts-%d", i)) != e2e.Version(n) {
				return false
			}
		}
		return true
	}
	e2e.Eventually(t, "all have it", func() bool { return crowdHas(1) })

	w.refuse.Store(true)
	w.hangUp()
	x.Publish("hosts", e2e.Version(2))
	e2e.Pause(12 * time.Second) // all are past their first retries
	back := time.Now()
	w.refuse.Store(false)
	e2e.Eventually(t, "all have the next one", func() bool { return crowdHas(2) })
	took := time.Since(back)
	moments := w.requests.after(back)
	most := busiest(moments, binWidth)
	t.Logf("%d agents: all back within %v; %d requests, at most %d within %v", agents, took.Round(10*time.Millisecond),
		len(moments), most, binWidth)
	if most > len(moments)/2 {
		t.Errorf("%d of %d requests came within %v", most, len(moments), binWidth)
	}
}

const binWidth = 250 * time.Millisecond

// crowd runs many agents in this process, each with one file. The function that it
// returns ends them.
func crowd(x *e2e.Site, addr string, agents int) (end func()) {
	x.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	open := func(s config.Store) ([]agent.Store, error) {
		store, err := consul.New(consul.Options{Addr: s.Addrs[0], Lasting: true})
		return []agent.Store{store}, err
	}
	for i := range agents {
		name := fmt.Sprintf("hosts-%d", i)
		a, err := agent.New(agent.Options{
			Config: config.Config{
				Store: config.Store{Addrs: []string{addr}}, Layout: x.Layout, Node: name,
				StateDir: x.Path(name + ".state"), Reconcile: time.Hour,
				Targets: []config.Target{{Target: install.Target{Key: kv.Key("hosts"), File: x.Path(name)}}},
			},
			Open: open, Host: name, Version: "test", Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			x.T.Fatal(err)
		}
		all.Go(func() {
			if err := a.Run(ctx); err != nil {
				x.T.Error(err)
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); all.Wait() })
}
