//go:build linux

package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kvexpress/internal/rollout"
	"kvexpress/test/e2e"
)

const (
	service     = "db.lab.test"
	right       = "192.0.2.10"
	wrong       = "192.0.2.66"
	canaryLabel = "stages:\n  - {nodes: {role: canary}, bake: 2s}\n  - {share: 100%, bake: 2s}\n"
)

// ask is the address of a name at a DNS server.
func ask(ctx context.Context, server, name string) (string, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server)
	}}
	all, err := r.LookupHost(ctx, name+".")
	return strings.Join(all, " "), err
}

// resolver is a node with a dnsmasq that reads its hosts file.
type resolver struct {
	*e2e.Daemon
	name string
	dns  string       // host:port of its dnsmasq
	bad  atomic.Int64 // answers that were wrong
	good atomic.Int64
}

// TestDNS: a hosts file that is valid by its check, and wrong in DNS, is stopped at the canary. The DNS of the other nine never
// gives the wrong answer. Without a policy, all ten give it.
func TestDNS(t *testing.T) {
	t.Parallel()
	c := e2e.StartCluster(t)
	x := c.Site(t, 0)
	addrs := []string{free(t), free(t)}
	for i, addr := range addrs {
		x.Hub(fmt.Sprintf("hub-%d", i), "-p", x.Prefix, "-s", c.Servers[i].Addr, "--listen", addr, "--peers", addrs[1-i])
	}
	x.Publish("hosts", hosts(right, 1))
	var nodes []*resolver
	for i := range 10 {
		nodes = append(nodes, newResolver(x, i, addrs))
	}
	for _, n := range nodes {
		n.Delivers(n.name+"-hosts", hosts(right, 1))
		e2e.Eventually(t, n.name+" answers", func() bool { return n.asks(t.Context()) == right })
	}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for _, n := range nodes {
		all.Go(func() { n.record(ctx) })
	}
	hub := strings.Join(addrs, ",")
	in := func(content string, more ...string) e2e.Result {
		t.Helper()
		return x.Run(append([]string{"in", "-p", x.Prefix, "-k", "hosts", "--hub", hub, "-f", x.File("source", content)}, more...)...)
	}
	policy := x.File("policy.yml", canaryLabel)
	x.Ok("policy", "set", "-p", x.Prefix, "-k", "hosts", "-f", policy)

	if r := in(hosts(right, 2)); r.Code != 0 {
		t.Fatalf("a good version ends with %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	for _, n := range nodes {
		n.Delivers(n.name+"-hosts", hosts(right, 2))
	}
	r := in(hosts(wrong, 3))
	if r.Code != 11 || !strings.Contains(r.Stdout+r.Stderr, "web-0") || !strings.Contains(r.Stdout+r.Stderr, "probe") {
		t.Errorf("a bad version ends with %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	for _, n := range nodes {
		n.Delivers(n.name+"-hosts", hosts(right, 2))
		e2e.Eventually(t, n.name+" answers as before", func() bool { return n.asks(ctx) == right })
	}
	if nodes[0].bad.Load() == 0 {
		t.Error("the canary never gave the wrong answer: the test shows nothing")
	}
	for _, n := range nodes[1:] {
		if bad := n.bad.Load(); bad != 0 || n.good.Load() == 0 {
			t.Errorf("%s gave %d wrong and %d right answers", n.name, bad, n.good.Load())
		}
	}
	row := rowOf(x)
	if row.State != rollout.Reverted || row.Version != 3 || row.Base.Version != 2 {
		t.Errorf("the row says %+v", row)
	}
	if live := x.Store.Manifest(x.Row("hosts", "manifest")); live.Version != 2 {
		t.Errorf("version %d is current", live.Version)
	}
	if r := in(hosts(wrong, 3)); r.Code != 11 {
		t.Errorf("the withdrawn content once more ends with %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}

	// Without stages it is everywhere at once.
	if r := in(hosts(wrong, 4), "--now", "-m", "the control of this test"); r.Code != 0 {
		t.Fatalf("--now ends with %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	for _, n := range nodes {
		e2e.Eventually(t, n.name+" gives the wrong answer", func() bool { return n.asks(ctx) == wrong })
	}
}

// hosts is a hosts file in which the service has this address.
func hosts(addr string, n int) string {
	return fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", addr, service) + e2e.Text(fmt.Sprintf("v%d", n), 20)
}

// newResolver runs a node. Its check is dnsmasq's own, and its probe asks dnsmasq.
func newResolver(x *e2e.Site, i int, hubs []string) *resolver {
	x.T.Helper()
	n := &resolver{name: fmt.Sprintf("web-%d", i), dns: free(x.T)}
	file := x.File(n.name+"-hosts", hosts(right, 1))
	_, port, _ := net.SplitHostPort(n.dns)
	pid := x.Path(n.name + ".pid")
	x.Start("dnsmasq-"+n.name, "sh", "-c", `echo $$ >"$0" && exec "$@"`, pid, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port="+port,
		"--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--addn-hosts="+file, "--local=/lab.test/")
	own, err := os.Executable()
	if err != nil {
		x.T.Fatal(err)
	}
	target := e2e.Fields{
		"key": "hosts", "file": file, "mode": "0644", "min_lines": 10,
		"check":         []string{"grep", "-q", "^127.0.0.1 localhost$", "{file}"},
		"exec":          []string{"sh", "-c", `read p <"$0" && kill -HUP $p`, pid},
		"probe":         []string{"env", fmt.Sprintf("%s=%s %s %s", probeEnv, n.dns, service, right), own},
		"probe_timeout": "2s",
	}
	more := e2e.Fields{"hubs": hubs}
	if i == 0 {
		more["labels"] = map[string]string{"role": "canary"}
	}
	x.ConfigWith(n.name, more, nil, target)
	n.Daemon = x.Agent(n.name)
	return n
}

func (n *resolver) asks(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	got, err := ask(ctx, n.dns, service)
	if err != nil {
		return ""
	}
	return got
}

// record asks the node's dnsmasq until ctx ends.
func (n *resolver) record(ctx context.Context) {
	for ctx.Err() == nil {
		switch n.asks(ctx) {
		case right:
			n.good.Add(1)
		case wrong:
			n.bad.Add(1)
		}
		e2e.Pause(10 * time.Millisecond)
	}
}

// rowOf is the rollout of hosts, as the store has it.
func rowOf(x *e2e.Site) rollout.Row {
	x.T.Helper()
	return decode(x.T, x.Store.Get(x.Layout.Rollout("hosts")))
}

func decode(t testing.TB, stored *e2e.Row) rollout.Row {
	t.Helper()
	if stored == nil {
		t.Fatal("there is no rollout")
	}
	var r rollout.Row
	if err := json.Unmarshal(stored.Value, &r); err != nil {
		t.Fatalf("%s: %v", stored.Value, err)
	}
	return r
}

// free is an address on this machine that no program uses.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
