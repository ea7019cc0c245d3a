//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/agentfile"
	"kvexpress/internal/deliver"
	"kvexpress/internal/e2e"
	"kvexpress/internal/kv"
	"kvexpress/internal/store/consul"
)

// agentsThatReconnect: a store comes back, and many agents with it. They
// do not come at one moment. The agents are in this process: 200 of their own would
// need more memory than there is. Taken out: the jitter; then all requests come within
// 250 ms.
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
	t.Logf("%d agents: all back within %v; %d requests, at most %d within %v; in bins: %v", agents, took.Round(10*time.Millisecond), len(moments), most, binWidth, bins(moments, binWidth))
	if most > len(moments)/2 {
		t.Errorf("%d of %d requests came within %v", most, len(moments), binWidth)
	}

	// The control: those that try again every second all come together.
	w.refuse.Store(true)
	var naive sync.WaitGroup
	var came beats
	for range agents {
		naive.Go(func() {
			for {
				if conn, err := net.Dial("tcp", w.addr); err == nil {
					_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
					_, _ = fmt.Fprintf(conn, "GET /v1/status/leader HTTP/1.0\r\n\r\n")
					n, _ := conn.Read(make([]byte, 1))
					conn.Close()
					if n > 0 {
						came.add()
						return
					}
				}
				e2e.Pause(time.Second)
			}
		})
	}
	e2e.Pause(2500 * time.Millisecond)
	back = time.Now()
	w.refuse.Store(false)
	naive.Wait()
	if most := busiest(came.after(back), binWidth); most <= agents/2 {
		t.Errorf("the control: at most %d of %d naive clients came within %v", most, agents, binWidth)
	}
}

const binWidth = 250 * time.Millisecond

// crowd runs many agents in this process, each with one file. The function that it
// returns ends them.
func crowd(x *e2e.Site, addr string, agents int) (end func()) {
	x.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	open := func(s agentfile.Store) ([]agent.Store, error) {
		store, err := consul.New(consul.Options{Addr: s.Addrs[0], Lasting: true})
		return []agent.Store{store}, err
	}
	for i := range agents {
		name := fmt.Sprintf("hosts-%d", i)
		a, err := agent.New(agent.Options{
			Config: agentfile.Config{
				Store: agentfile.Store{Addrs: []string{addr}}, Layout: x.Layout, Node: name,
				StateDir: x.Path(name + ".state"), Reconcile: time.Hour,
				Targets: []agentfile.Target{{Target: deliver.Target{Key: kv.Key("hosts"), File: x.Path(name)}}},
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

// agentBesideOthers: while a fleet is upgraded, an agent and a Consul watch
// that runs `out` look after one file, with one state, and 1.x publishes between our
// own publishes. An agent of a release before this one does not exist yet. Taken out:
// the state that both have in common; then the exec runs twice for the same bytes.
func agentBesideOthers(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	x.Publish("hosts", e2e.Version(1))
	ran := hashes(x, "hash", "hosts")
	x.Config("agent", nil, x.To("hosts", e2e.Fields{"exec": ran}))
	watch := exec.CommandContext(t.Context(), x.Store.Server.Bin, "watch", "-http-addr", x.Store.Server.Addr,
		"-type", "key", "-key", x.Row("hosts", "checksum"), "-shell=false",
		e2e.Program.Path, "out", "-p", x.Prefix, "-k", "hosts", "-f", x.Path("hosts"), "-e", ran, "--state-dir", x.Path("agent.state"))
	watch.Env, watch.Dir = x.Env, x.Dir
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	var one sync.WaitGroup
	one.Go(func() { _ = watch.Wait() }) // it is killed
	stop := sync.OnceFunc(func() { _ = watch.Process.Kill(); one.Wait() })
	defer stop()
	d := x.Agent("agent")
	d.Delivers("hosts", e2e.Version(1))

	contents := []string{e2e.Version(1)}
	for i := range 2 * e2e.Times(100) {
		contents = append(contents, e2e.Version(i+2))
	}
	last := contents[len(contents)-1]
	torn, reads := e2e.Watched(t, x.Path("hosts"), contents, func() {
		for i, content := range contents[1:] {
			if i%2 == 0 {
				// As 1.x does it: the data, and then the checksum.
				x.Store.Put(x.Row("hosts", "data"), content, 0)
				e2e.Pause(time.Duration(i%5) * 20 * time.Millisecond)
				x.Store.Put(x.Row("hosts", "checksum"), e2e.Sum(content), 0)
			} else {
				x.Publish("hosts", content)
			}
			if i%3 == 0 {
				e2e.Eventually(t, "it arrives", func() bool { return x.Read("hosts") == content })
			}
			if i%7 == 6 { // the upgrade itself
				d.Kill()
				d = x.Agent("agent")
			}
		}
		d.Delivers("hosts", last)
	})
	e2e.Eventually(t, "the exec runs for the last one", func() bool { return ranLast(x, "hash", "hosts", last) })
	stop()
	runs := runsOf(x, "hash", "hosts")
	t.Logf("%d versions, the exec ran %d times; torn: %d of %d reads", len(contents), len(runs), torn, reads)
	if torn > 0 {
		t.Errorf("%d of %d reads were torn", torn, reads)
	}
	if unique := slices.Compact(slices.Clone(runs)); len(unique) < len(runs)-2*e2e.Times(100)/7-1 {
		t.Errorf("the exec ran %d times, %d of them for what it had just run for", len(runs), len(runs)-len(unique))
	}
	if litter := litter(x); len(litter) > 0 {
		t.Errorf("left behind: %q", litter)
	}
}
