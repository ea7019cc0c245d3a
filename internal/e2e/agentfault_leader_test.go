//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/agent"
	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
)

// Servers that die, hang, or are too few. These faults follow each other on one
// cluster.
func agentWithFailingServers(t *testing.T) {
	c := startCluster(t)
	agentsWhileLeadersDie(t, c)
	agentsWhileTheLeaderHangs(t, c)
	agentWithoutQuorum(t, c)
}

// author publishes numbered versions of a key, by whichever server takes them.
type author struct {
	x       *site
	key     string
	clients []publish.Publisher
	tried   atomic.Int64 // the last number that was sent
	acked   atomic.Int64 // the last one that was acknowledged
}

func (c *cluster) author(x *site, key string) *author {
	a := &author{x: x, key: key}
	for _, s := range c.servers {
		client, err := consul.New(consul.Options{Addr: s.Addr, Token: s.ManagementToken, Timeout: 5 * time.Second})
		if err != nil {
			x.t.Fatal(err)
		}
		a.clients = append(a.clients, publish.Publisher{Store: client, Layout: x.layout, By: "test@e2e", ResolveFor: time.Second})
	}
	return a
}

// once sends the next number to a server, and reports whether it was taken.
func (a *author) once(ctx context.Context, server int) bool {
	n := a.tried.Add(1)
	_, err := a.clients[server%len(a.clients)].Publish(ctx, publish.Request{Key: kv.Key(a.key), Content: []byte(version(int(n)))})
	if err == nil {
		a.acked.Store(n)
	}
	return err == nil
}

// must publishes one more version, and returns its content.
func (a *author) must() string {
	a.x.t.Helper()
	i := 0
	eventually(a.x.t, "a server takes a version", func() bool { i++; return a.once(a.x.t.Context(), i) })
	return version(int(a.acked.Load()))
}

// number is which version a file has; 0 if there is none, -1 if it is none of them.
func (x *site) number(file string) int64 {
	var n int64
	content := x.read(file)
	if content == "" {
		return 0
	}
	if _, err := fmt.Sscanf(content, "127.0.0.1 version-%d-0.example", &n); err != nil || content != version(int(n)) {
		return -1
	}
	return n
}

// follow watches a file, whose versions may only ever rise.
func (x *site) follow(file string) (end func()) {
	var last int64
	return loop(x.t, func(context.Context, int) {
		n := x.number(file)
		if n < last {
			x.t.Errorf("%s goes from version %d to %d", file, last, n)
		}
		last = n
		pause(time.Millisecond)
	})
}

// agentsWhileLeadersDie is fault 15: the leader gets kill -9 while versions are
// published without a pause, and an agent runs at each server. What was acknowledged
// arrives everywhere, or something later does.
func agentsWhileLeadersDie(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	a := c.author(x, "hosts")
	a.must()
	var daemons []*daemon
	for i, s := range c.servers {
		file := fmt.Sprintf("hosts-%d", i)
		x.config(file, []string{s.Addr}, fields{"key": "hosts", "file": x.path(file)})
		daemons = append(daemons, x.agent(file))
		daemons[i].delivers(file, version(1))
		defer x.follow(file)()
	}
	arrives := func(servers []int, want int64) {
		t.Helper()
		for _, i := range servers {
			file := fmt.Sprintf("hosts-%d", i)
			eventually(t, fmt.Sprintf("version %d arrives at %s", want, file), func() bool { return x.number(file) >= want })
		}
	}
	end := loop(t, func(ctx context.Context, i int) { a.once(ctx, i) })
	more := func() {
		t.Helper()
		want := a.acked.Load() + 10
		eventually(t, "publishing goes on", func() bool { return a.acked.Load() >= want })
	}
	for range times(20) {
		more()
		leader := c.leader(0)
		acked := a.acked.Load()
		c.servers[leader].Kill()
		arrives(c.others(leader), acked)
		more()
		arrives(c.others(leader), a.acked.Load())
		c.servers[leader].Restart()
		arrives(c.others(-1), a.acked.Load())
	}
	end()
	acked, tried := a.acked.Load(), a.tried.Load()
	arrives(c.others(-1), acked)
	now := a.must()
	for i, d := range daemons {
		d.delivers(fmt.Sprintf("hosts-%d", i), now)
	}
	t.Logf("leaders killed: %d; published: %d of %d attempts", times(20), acked, tried)

	// The control: without its agent, a node is seen to lag behind.
	daemons[0].kill()
	a.must()
	arrives(c.others(0), a.acked.Load())
	if x.number("hosts-0") >= a.acked.Load() {
		t.Error("the control: a node without an agent is up to date")
	}
	for _, d := range daemons {
		d.kill()
	}
}

// agentsWhileTheLeaderHangs is fault 16: the leader gets SIGSTOP. Its connections stay
// open, and nothing answers.
func agentsWhileTheLeaderHangs(t *testing.T, c *cluster) {
	x := c.site(t, 0)
	a := c.author(x, "hanging")
	before := a.must()
	leader := c.leader(0)
	other := c.others(leader)[0]
	x.config("at-the-leader", []string{c.servers[leader].Addr}, fields{"key": "hanging", "file": x.path("one")})
	x.config("with-another", []string{c.servers[leader].Addr, c.servers[other].Addr}, fields{"key": "hanging", "file": x.path("two")})
	x.config("elsewhere", []string{c.servers[other].Addr}, fields{"key": "hanging", "file": x.path("three")})
	one, two, three := x.agent("at-the-leader"), x.agent("with-another"), x.agent("elsewhere")
	for file, d := range map[string]*daemon{"one": one, "two": two, "three": three} {
		d.delivers(file, before)
	}

	paused := time.Now()
	c.servers[leader].Pause()
	resume := func() { c.servers[leader].Resume() }
	defer resume()
	var after string
	within(t, time.Minute, "another leader takes a version", func() bool {
		if !a.once(t.Context(), other) {
			return false
		}
		after = version(int(a.acked.Load()))
		return true
	})
	three.delivers("three", after)
	t.Logf("the leader hangs: a version is at another server's node after %v", time.Since(paused).Round(time.Millisecond))
	pause(3 * time.Second)
	// The control: it is this server that is silent.
	for _, file := range []string{"one", "two"} {
		x.holds(file, before)
	}
	if times(10) == 10 {
		// A watch ends by itself, and the next store is asked.
		took := within(t, 3*time.Minute, "the agent goes over to the other server", func() bool { return x.read("two") == after })
		t.Logf("an agent with two stores has it after %v", took.Round(time.Second))
		x.holds("one", before)
	}
	resume()
	began := time.Now()
	one.delivers("one", after)
	two.delivers("two", after)
	t.Logf("after the hang, the rest has it within %v", time.Since(began).Round(time.Millisecond))
	for _, d := range []*daemon{one, two, three} {
		d.kill()
	}
}

// agentWithoutQuorum is fault 17: two of three servers are gone for a while. The files
// stay, the agent says since when, and it costs next to nothing. Taken out: the link's
// pauses between two tries; then it is 19 requests a second and 2 % of a core.
func agentWithoutQuorum(t *testing.T, c *cluster) {
	const targets = 10
	x := c.site(t, 0)
	w := newWire(t, c.servers[0].Addr)
	key := func(i int) string { return fmt.Sprintf("file-%d", i) }
	var all []fields
	for i := range targets {
		x.publish(key(i), version(1))
		all = append(all, x.to(key(i)))
	}
	// Reconciliation tells soonest that there is no leader: the server that is left
	// goes on answering watches.
	x.configWith("agent", fields{"reconcile": "10s"}, []string{w.addr}, all...)
	d := x.agent("agent")
	for i := range targets {
		d.delivers(key(i), version(1))
	}
	was := tree(t, x.dir, "agent.log")
	lost := time.Now()
	c.servers[1].Kill()
	c.servers[2].Kill()
	within(t, 2*time.Minute, "the agent notices", func() bool {
		s := d.status().Store
		return !s.Up && s.Since != nil
	})
	noticed := time.Since(lost)
	for i := range targets {
		d.becomes(key(i), agent.Away)
	}
	within(t, time.Minute, "the first two retries are over", func() bool { return strings.Count(d.said(), "the store is away") > 0 && w.requests.since(lost) > 3 })
	pause(5 * time.Second)

	from, cpu := time.Now(), d.cpu()
	period := 20 * time.Second
	if times(10) == 10 {
		period = 3 * time.Minute
	}
	pause(period)
	took, used := time.Since(from), d.cpu()-cpu
	requests := w.requests.since(from)
	share, rate := used.Seconds()/took.Seconds(), float64(requests)/took.Seconds()
	t.Logf("without quorum: noticed after %v; then, in %v, %.2f %% of a core, %.3f requests a second", noticed.Round(time.Second), took.Round(time.Second), 100*share, rate)
	if share > 0.02 {
		t.Errorf("%.2f %% of a core is used for waiting", 100*share)
	}
	if float64(requests) > 0.2*took.Seconds()+1 {
		t.Errorf("%d requests in %v", requests, took)
	}
	if now := tree(t, x.dir, "agent.log"); now != was {
		t.Errorf("something was written while the store was away. Before:\n%s\nafter:\n%s", was, now)
	}
	s := d.status().Store
	if s.Up || s.Since == nil || s.Since.Before(lost) || s.Since.After(from) || s.Error == "" {
		t.Errorf("the status does not say since when, and why: %+v", s)
	}

	c.servers[1].Restart()
	c.servers[2].Restart()
	back := time.Now()
	x.publish(key(0), version(2))
	d.delivers(key(0), version(2))
	for i := 1; i < targets; i++ {
		d.becomes(key(i), agent.Current)
	}
	t.Logf("back %v after the servers", time.Since(back).Round(time.Millisecond))
	if !d.status().Store.Up {
		t.Error("the store is not up again")
	}
}
