//go:build linux

package hub

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvexpress/internal/outcome"
	"kvexpress/test/e2e"
)

// What operators do arrives at three agents through one hub. They make no request to a store: theirs is a server that only
// counts connections.
func TestFanOut(t *testing.T) {
	t.Parallel()
	x := start(t)
	h := x.Hub("hub", "--read-every", "5s")
	store := record(t, "")
	own := e2e.Fields{"stores": []string{store.addr}}
	one := x.Machine.Publish(e2e.Text("one", 20))
	nodes := map[string]*e2e.Daemon{}
	for _, name := range []string{"a", "b", "c"} {
		nodes[name] = node(x, name, own, h.Addr)
	}
	all := func(content string) {
		t.Helper()
		for name, d := range nodes {
			d.Delivers(name+"-hosts", content)
		}
	}
	all(one)

	x.Ok("stop", "-k", "hosts", "-r", "bad data")
	two := e2e.Text("two", 20)
	x.Ok("in", "-k", "hosts", "-f", x.File("source", two), "--ignore-stop")
	for name, d := range nodes {
		d.Becomes(name+"-hosts", outcome.Stopped)
		x.Holds(name+"-hosts", one)
	}
	x.Ok("resume", "-k", "hosts")
	all(two)

	x.Ok("lock", "-f", x.Path("a-hosts"), "-r", "looking into it")
	nodes["a"].Becomes("a-hosts", outcome.Locked)
	three := x.Machine.Publish(e2e.Text("three", 20))
	nodes["b"].Delivers("b-hosts", three)
	nodes["c"].Delivers("c-hosts", three)
	x.Holds("a-hosts", two)
	x.Ok("unlock", "-f", x.Path("a-hosts"))
	all(three)
	x.Ok("rollback", "-k", "hosts")
	all(two)
	x.Ok("in", "-k", "hosts", "-f", x.File("source", e2e.Text("four", 20)), "--hub", h.Addr, "--wait", "100%")
	all(e2e.Text("four", 20))

	for name, d := range nodes {
		if s := d.Status(); s.Requests > late || s.Hub == nil || s.Hub.Addr != h.Addr || s.Hub.Direct || s.Hub.Age > 30_000_000_000 {
			t.Errorf("%s: %d requests to the store, hub %+v", name, s.Requests, s.Hub)
		}
	}
	if conns, got := store.said(); conns > 3*late {
		t.Errorf("the agents connected %d times to their store: %q", conns, got)
	}
	if r := report(x, h.Addr, "hosts"); r.Nodes != 3 || r.Converged != 3 {
		t.Errorf("the hub knows of %d nodes, %d converged, want 3", r.Nodes, r.Converged)
	}

	// Status and metrics name the hub.
	if got := x.Ok("agent", "status", "-C", x.Path("a.yml")); !strings.Contains(got, "hub "+h.Addr) {
		t.Errorf("agent status does not name the hub:\n%s", got)
	}
	page, err := nodes["a"].Ask("/metrics")
	if err != nil || !strings.Contains(string(page), fmt.Sprintf(`kvexpress_agent_hub_connected{hub="%s"} 1`, h.Addr)) ||
		!strings.Contains(string(page), "\nkvexpress_agent_hub_age_seconds ") {
		t.Errorf("the metrics of the agent do not name the hub: %v\n%s", err, page)
	}
	for name, want := range map[string]float64{"agents": 3, "duplicate_nodes": 0, "keys": 1, `hellos_total{result="accepted"}`: 3} {
		if got := h.Metric(name); got != want {
			t.Errorf("the hub has %s %v, want %v", name, got, want)
		}
	}
	if age := h.Metric("age_seconds"); age < 0 || age > 30 {
		t.Errorf("the hub's age is %v s", age)
	}
}

// A node with 500 targets has one connection. A reload changes what the hub sends, on that connection.
func TestOneConnection(t *testing.T) {
	// It takes both processors: alone.
	const targets = 500
	x := start(t)
	h := x.Hub("hub")
	key := func(i int) string { return fmt.Sprintf("key-%03d", i) }
	publish := func(content string) {
		var all sync.WaitGroup
		for worker := range 4 {
			all.Go(func() {
				for i := worker; i <= targets; i += 4 {
					x.Publish(key(i), content)
				}
			})
		}
		all.Wait()
	}
	publish("one\n")
	settings := e2e.Fields{"hubs": []string{h.Addr}, "direct": false}
	var some []e2e.Fields
	add := func(i int) { some = append(some, e2e.Fields{"key": key(i), "file": x.Path(key(i)), "min_lines": 1}) }
	for i := range targets {
		add(i)
	}
	x.ConfigWith("web-1", settings, nil, some...)
	d := x.Agent("web-1")
	delivered := func(content string) {
		t.Helper()
		e2e.Eventually(t, "all files are right", func() bool {
			for i := range some {
				if x.Read(key(i)) != content {
					return false
				}
			}
			return true
		})
	}
	delivered("one\n")
	e2e.Eventually(t, "there is one connection", func() bool { return established(t, h.Addr) == 1 })
	since := d.Status().Hub.Since

	add(targets)
	x.ConfigWith("web-1", settings, nil, some...)
	d.Signal(syscall.SIGHUP)
	d.Delivers(key(targets), "one\n")
	publish("two\n")
	delivered("two\n")
	if s := d.Status(); !s.Hub.Since.Equal(*since) || s.Requests > 0 {
		t.Errorf("after a reload: connected since %v, was %v; %d requests to the store", s.Hub.Since, since, s.Requests)
	}
	if agents, hellos := h.Metric("agents"), h.Metric(`hellos_total{result="accepted"}`); agents != 1 || hellos != 2 {
		t.Errorf("the hub has %v agents after %v hellos, want 1 after 2", agents, hellos)
	}
	e2e.Eventually(t, "the hub knows that the new target has arrived", func() bool {
		r := report(x, h.Addr, key(targets))
		return r.Nodes == 1 && r.Converged == 1
	})
}
