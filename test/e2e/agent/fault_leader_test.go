//go:build linux

package agent

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/outcome"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
	"kvexpress/test/e2e"
)

// Servers die, hang, or are too few. These faults run one after the other on one
// cluster.
func agentWithFailingServers(t *testing.T) {
	c := e2e.StartCluster(t)
	agentsWhileLeadersDie(t, c)
	agentsWhileTheLeaderHangs(t, c)
	agentWithoutQuorum(t, c)
}

// author publishes numbered versions of a key, by whichever server takes them.
type author struct {
	x       *e2e.Site
	key     string
	clients []publish.Publisher
	tried   atomic.Int64 // the last number that was sent
	acked   atomic.Int64 // the last one that was acknowledged
}

func newAuthor(c *e2e.Cluster, x *e2e.Site, key string) *author {
	a := &author{x: x, key: key}
	for _, s := range c.Servers {
		client, err := consul.New(consul.Options{Addr: s.Addr, Token: s.ManagementToken, Timeout: 5 * time.Second})
		if err != nil {
			x.T.Fatal(err)
		}
		a.clients = append(a.clients, publish.Publisher{Store: client, Layout: x.Layout, By: "test@e2e", ResolveFor: time.Second})
	}
	return a
}

// once sends the next number to a server, and reports whether it was taken.
func (a *author) once(ctx context.Context, server int) bool {
	n := a.tried.Add(1)
	_, err := a.clients[server%len(a.clients)].Publish(ctx,
		publish.Request{Key: kv.Key(a.key), Content: []byte(e2e.Version(int(n)))})
	if err == nil {
		a.acked.Store(n)
	}
	return err == nil
}

// must publishes one more version, and returns its content.
func (a *author) must() string {
	a.x.T.Helper()
	i := 0
	e2e.Eventually(a.x.T, "a server takes a version", func() bool { i++; return a.once(a.x.T.Context(), i) })
	return e2e.Version(int(a.acked.Load()))
}

// number is the version that a file has; 0 without a file, -1 for other content.
func number(x *e2e.Site, file string) int64 {
	var n int64
	content := x.Read(file)
	if content == "" {
		return 0
	}
	if _, err := fmt.Sscanf(content, "127.0.0.1 version-%d-0.example", &n); err != nil || content != e2e.Version(int(n)) {
		return -1
	}
	return n
}

// follow watches a file, whose versions may only ever rise.
func follow(x *e2e.Site, file string) (end func()) {
	var last int64
	return loop(x.T, func(context.Context, int) {
		n := number(x, file)
		if n < last {
			x.T.Errorf("%s goes from version %d to %d", file, last, n)
		}
		last = n
		e2e.Pause(time.Millisecond)
	})
}

// agentsWhileLeadersDie: the leader gets kill -9 while versions are
// published without a pause, and an agent runs at each server. Each acknowledged
// version, or a later one, arrives everywhere.
func agentsWhileLeadersDie(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	a := newAuthor(c, x, "hosts")
	a.must()
	var daemons []*e2e.Daemon
	for i, s := range c.Servers {
		file := fmt.Sprintf("hosts-%d", i)
		agentConfig(x, file, []string{s.Addr}, e2e.Fields{"key": "hosts", "file": x.Path(file)})
		daemons = append(daemons, x.Agent(file))
		daemons[i].Delivers(file, e2e.Version(1))
		defer follow(x, file)()
	}
	arrives := func(servers []int, want int64) {
		t.Helper()
		for _, i := range servers {
			file := fmt.Sprintf("hosts-%d", i)
			e2e.Eventually(t, fmt.Sprintf("version %d arrives at %s", want, file), func() bool { return number(x, file) >= want })
		}
	}
	end := loop(t, func(ctx context.Context, i int) { a.once(ctx, i) })
	more := func() {
		t.Helper()
		want := a.acked.Load() + 10
		e2e.Eventually(t, "publishing goes on", func() bool { return a.acked.Load() >= want })
	}
	for range e2e.Times(20) {
		more()
		leader := c.Leader(0)
		acked := a.acked.Load()
		c.Servers[leader].Kill()
		arrives(c.Others(leader), acked)
		more()
		arrives(c.Others(leader), a.acked.Load())
		c.Servers[leader].Restart()
		arrives(c.Others(-1), a.acked.Load())
	}
	end()
	acked, tried := a.acked.Load(), a.tried.Load()
	arrives(c.Others(-1), acked)
	now := a.must()
	for i, d := range daemons {
		d.Delivers(fmt.Sprintf("hosts-%d", i), now)
	}
	t.Logf("leaders killed: %d; published: %d of %d attempts", e2e.Times(20), acked, tried)

	// The control: without its agent, a node is seen to lag behind.
	daemons[0].Kill()
	a.must()
	arrives(c.Others(0), a.acked.Load())
	if number(x, "hosts-0") >= a.acked.Load() {
		t.Error("the control: a node without an agent is up to date")
	}
	for _, d := range daemons {
		d.Kill()
	}
}

// agentsWhileTheLeaderHangs: the leader gets SIGSTOP. Its connections stay
// open, and nothing answers.
func agentsWhileTheLeaderHangs(t *testing.T, c *e2e.Cluster) {
	x := c.Site(t, 0)
	a := newAuthor(c, x, "hanging")
	before := a.must()
	leader := c.Leader(0)
	other := c.Others(leader)[0]
	agentConfig(x, "at-the-leader", []string{c.Servers[leader].Addr}, e2e.Fields{"key": "hanging", "file": x.Path("one")})
	agentConfig(x, "with-another", []string{c.Servers[leader].Addr, c.Servers[other].Addr},
		e2e.Fields{"key": "hanging", "file": x.Path("two")})
	agentConfig(x, "elsewhere", []string{c.Servers[other].Addr}, e2e.Fields{"key": "hanging", "file": x.Path("three")})
	one, two, three := x.Agent("at-the-leader"), x.Agent("with-another"), x.Agent("elsewhere")
	for file, d := range map[string]*e2e.Daemon{"one": one, "two": two, "three": three} {
		d.Delivers(file, before)
	}

	paused := time.Now()
	c.Servers[leader].Pause()
	resume := func() { c.Servers[leader].Resume() }
	defer resume()
	var after string
	e2e.Within(t, time.Minute, "another leader takes a version", func() bool {
		if !a.once(t.Context(), other) {
			return false
		}
		after = e2e.Version(int(a.acked.Load()))
		return true
	})
	three.Delivers("three", after)
	t.Logf("the leader hangs: a version is at another server's node after %v", time.Since(paused).Round(time.Millisecond))
	e2e.Pause(3 * time.Second)
	// The control: this server does not answer.
	for _, file := range []string{"one", "two"} {
		x.Holds(file, before)
	}
	if e2e.Times(10) == 10 {
		// A watch ends by itself, and the next store is asked.
		took := e2e.Within(t, 3*time.Minute, "the agent goes over to the other server", func() bool { return x.Read("two") == after })
		t.Logf("an agent with two stores has it after %v", took.Round(time.Second))
		x.Holds("one", before)
	}
	resume()
	began := time.Now()
	one.Delivers("one", after)
	two.Delivers("two", after)
	t.Logf("after the hang, the rest has it within %v", time.Since(began).Round(time.Millisecond))
	for _, d := range []*e2e.Daemon{one, two, three} {
		d.Kill()
	}
}

// agentWithoutQuorum: two of three servers are down for a while. The files stay, the agent
// reports since when, and it uses almost no resources. Without the pauses of the circuit
// breaker, it would be 19 requests a second and 2 % of a core.
func agentWithoutQuorum(t *testing.T, c *e2e.Cluster) {
	const targets = 10
	x := c.Site(t, 0)
	front := newFront(t, c.Servers[0].Addr)
	key := func(i int) string { return fmt.Sprintf("file-%d", i) }
	var all []e2e.Fields
	for i := range targets {
		x.Publish(key(i), e2e.Version(1))
		all = append(all, to(x, key(i)))
	}
	// A reconcile is the first to notice the missing leader: the remaining server
	// still answers watches.
	x.ConfigWith("agent", e2e.Fields{"reconcile": "10s"}, []string{front.addr}, all...)
	d := x.Agent("agent")
	for i := range targets {
		d.Delivers(key(i), e2e.Version(1))
	}
	was := e2e.Tree(t, x.Dir, "agent.log")
	lost := time.Now()
	c.Servers[1].Kill()
	c.Servers[2].Kill()
	e2e.Within(t, 2*time.Minute, "the agent notices", func() bool {
		s := d.Status().Store
		return !s.Up && s.Since != nil
	})
	noticed := time.Since(lost)
	for i := range targets {
		d.Becomes(key(i), outcome.Unreachable)
	}
	e2e.Within(t, time.Minute, "the first two retries are over",
		func() bool { return strings.Count(d.Said(), "store unreachable") > 0 && front.requests.since(lost) > 3 })
	e2e.Pause(5 * time.Second)

	from, cpu := time.Now(), cpuOf(d)
	period := 10 * time.Second
	if e2e.Times(10) == 10 {
		period = 3 * time.Minute
	}
	e2e.Pause(period)
	took, used := time.Since(from), cpuOf(d)-cpu
	requests := front.requests.since(from)
	share, rate := used.Seconds()/took.Seconds(), float64(requests)/took.Seconds()
	t.Logf("without quorum: noticed after %v; then, in %v, %.2f %% of a core, %.3f requests a second", noticed.Round(time.Second),
		took.Round(time.Second), 100*share, rate)
	if share > 0.02 {
		t.Errorf("%.2f %% of a core is used for waiting", 100*share)
	}
	if float64(requests) > 0.2*took.Seconds()+1 {
		t.Errorf("%d requests in %v", requests, took)
	}
	if now := e2e.Tree(t, x.Dir, "agent.log"); now != was {
		t.Errorf("something was written while the store was unreachable. Before:\n%s\nafter:\n%s", was, now)
	}
	s := d.Status().Store
	if s.Up || s.Since == nil || s.Since.Before(lost) || s.Since.After(from) || s.Error == "" {
		t.Errorf("the status does not say since when, and why: %+v", s)
	}

	c.Servers[1].Restart()
	c.Servers[2].Restart()
	back := time.Now()
	x.Publish(key(0), e2e.Version(2))
	d.Delivers(key(0), e2e.Version(2))
	for i := 1; i < targets; i++ {
		d.Becomes(key(i), outcome.Converged)
	}
	t.Logf("back %v after the servers", time.Since(back).Round(time.Millisecond))
	if !d.Status().Store.Up {
		t.Error("the store is not up again")
	}
}
