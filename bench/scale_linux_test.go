package bench

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"kvexpress/internal/hub"
	"kvexpress/internal/testutil/consultest"
	"kvexpress/test/e2e"
)

const nodesEnv = "KVEXPRESS_BENCH_NODES"

// BenchmarkHubKeys: Consul's CPU for a publish of one key, with 100 and with 1,000 keys in use by nine agents, through one hub.
func BenchmarkHubKeys(b *testing.B) {
	blocks := number(b, roundsEnv, 3)
	t := buildTools(b, hubTogether)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	const changes = 15
	pace := func(one func()) func() {
		return func() {
			for range changes {
				one()
			}
		}
	}
	var all []figure
	for _, keys := range []int{100, 1000} {
		var alone, cpu, last []float64
		for range blocks {
			c := comparison{nodes: 9, targets: (keys-1)/9 + 1}
			quiet := &running{b: b}
			alone = append(alone, ms(quiet.used(server, pace(func() {
				pub.publish(b, pub.content())
				time.Sleep(300 * time.Millisecond)
			})).consul)/changes)
			r := t.begin(b, hubTogether, server.Addr, c, pub)
			cpu = append(cpu, ms(r.used(server, pace(func() { last = append(last, quantile(r.change(), 1)) })).consul)/changes)
			r.end()
		}
		need, _ := model(b, hub.Fleet{Nodes: 9, Keys: keys, Targets: keys / 9, Plain: true})
		limit := map[int]string{100: "8", 1000: "45"}[keys]
		all = append(all,
			figure{name: fmt.Sprintf("Consul's CPU a publish, %d keys, ms", keys), through: middle(cpu), modelled: millis(need.Publish)},
			figure{name: "of that for the hub, ms", through: middle(cpu) - middle(alone), limit: limit},
			figure{name: "last of 9 files, ms", through: middle(last), modelled: millis(need.Last)})
	}
	printFigures(b, fmt.Sprintf("%d × %d publishes", blocks, changes), all)
}

// BenchmarkHubArrival: when `in --wait 100%` ends, and what receipts cost Consul, without a hub and through one.
func BenchmarkHubArrival(b *testing.B) {
	nodes, blocks := number(b, nodesEnv, 1200), number(b, roundsEnv, 3)
	c := comparison{kinds: []kind{oursReporting, hubReporting, oursTogether, hubTogether}, nodes: nodes, pause: 6 * time.Second}
	t := buildTools(b, c.kinds...)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	const changes = 5
	cpu, proof, last := map[kind][]float64{}, map[kind][]float64{}, map[kind][]float64{}
	for range blocks {
		for _, k := range c.kinds {
			r := t.begin(b, k, server.Addr, c, pub)
			r.change()
			cpu[k] = append(cpu[k], ms(r.used(server, func() {
				for range changes {
					last[k] = append(last[k], quantile(r.change(), 1))
				}
			}).consul)/changes)
			for n := 0; n < changes && r.site.Receipts; n++ {
				proof[k] = append(proof[k], t.proven(r))
			}
			r.end()
		}
	}
	need, _ := model(b, hub.Fleet{Nodes: nodes, Keys: 1, Targets: 1, Plain: true})
	printFigures(b, fmt.Sprintf("%d nodes, %d × %d changes", nodes, blocks, changes), []figure{
		{name: "last file, ms", direct: middle(last[oursReporting]), through: middle(last[hubReporting])},
		{name: "in --wait 100% ends after the last file, ms", direct: middle(proof[oursReporting]), through: middle(proof[hubReporting]),
			limit: "300", modelled: millis(hub.ProofTime)},
		{name: "Consul's CPU for the receipts, ms", direct: middle(cpu[oursReporting]) - middle(cpu[oursTogether]),
			through: middle(cpu[hubReporting]) - middle(cpu[hubTogether]), limit: "50", modelled: millis(need.Receipts)},
	})
}

// proven publishes with `in --wait 100%`, and returns how long after the last file it ended, in ms.
func (t tools) proven(r *running) float64 {
	r.b.Helper()
	content, file := r.pub.content(), filepath.Join(r.site.Base, "new")
	write(r.b, file, content)
	r.seen.expect(content)
	args := []string{"in", "-k", string(key), "-f", file, "-s", r.site.Addr, "-p", prefix, "--wait", "100%", "--timeout", "2m"}
	if r.site.Hub != "" {
		args = append(args, "--hub", r.site.Hub)
	}
	run(r.b, t.kvexpress, args...)
	ended, last := time.Now(), time.Time{}
	for _, at := range r.wait() {
		if at.After(last) {
			last = at
		}
	}
	return ms(ended.Sub(last))
}

// idleAgents is how many clients wait at a hub.
const idleAgents = 9000

// BenchmarkHubIdle: memory of a hub for each connected client, its CPU at rest, and memory of agents with 1 and 500 targets.
func BenchmarkHubIdle(b *testing.B) {
	nodes := number(b, nodesEnv, idleAgents)
	t := buildTools(b, ours, hubTogether)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	pub.publish(b, pub.content())
	var all []figure
	for _, secure := range []bool{false, true} {
		kib, cores := t.idle(b, server, nodes, secure)
		name, limit := "plain", "42"
		if secure {
			name, limit = "TLS", "72"
		}
		need, _ := model(b, hub.Fleet{Nodes: nodes, Keys: 1, Targets: 1, Plain: !secure})
		empty, _ := model(b, hub.Fleet{Nodes: 1, Keys: 1, Targets: 1, Plain: !secure})
		all = append(all,
			figure{name: "hub's memory for a client, " + name + ", KiB", through: kib, limit: limit,
				modelled: float64(need.Memory-empty.Memory) / 1024 / float64(nodes)},
			figure{name: "hub's CPU at rest, " + name + ", % of a core", through: 100 * cores, modelled: 100 * need.HubIdle})
	}
	for _, targets := range []int{1, 500} {
		limit := map[int]string{1: "3", 500: "12"}[targets]
		all = append(all, figure{name: fmt.Sprintf("agent's anonymous memory, %d targets, MiB", targets), limit: limit,
			direct: t.agentMemory(b, server, pub, targets, false), through: t.agentMemory(b, server, pub, targets, true)})
	}
	printFigures(b, fmt.Sprintf("%d clients at rest", nodes), all)
}

// idle is the memory of a hub for each client, in KiB, and its CPU at rest, in cores.
func (t tools) idle(b *testing.B, server *consultest.Server, nodes int, secure bool) (kib, cores float64) {
	b.Helper()
	dir := b.TempDir()
	s := site{Addr: server.Addr, Base: dir, Nodes: nodes}
	var args []string
	if secure {
		authority := e2e.NewAuthority(b, dir, "ca.pem")
		_, _, cert := authority.Sign("hub.pem", []net.IP{net.IPv4(127, 0, 0, 1)}, nil, time.Hour)
		s.CA, args = authority.File, []string{"--tls-cert", cert, "--tls-key", cert + ".key"}
	}
	r := &running{b: b}
	r.hub, s.Hub = t.startHub(b, server.Addr, dir, args...)
	page := metrics{addr: s.Hub, secure: secure}
	page.until(b, "keys", 0) // it is ready
	before, err := processMemory(r.hub.Cmd.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	r.fleet = t.start(b, hubIdle, s)
	page.until(b, "snapshots_total", float64(nodes))
	time.Sleep(time.Minute) // the runtime gives memory back
	rest := r.during(server, func() { time.Sleep(20 * time.Second) })
	if agents := page.read("agents"); agents != float64(nodes) {
		b.Fatalf("%v of %d clients are connected\n%s", agents, nodes, r.fleet.lastWords())
	}
	after, err := processMemory(r.hub.Cmd.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	r.fleet.stop()
	r.hub.End(os.Interrupt)
	return (after.anonymous - before.anonymous) * 1024 / float64(nodes), rest.hub.Seconds() / rest.wall.Seconds()
}

// agentMemory is the anonymous memory of an agent that has its files, in MiB.
func (t tools) agentMemory(b *testing.B, server *consultest.Server, pub *publisher, targets int, through bool) float64 {
	b.Helper()
	s, _ := newSite(b, server.Addr, 1)
	s.Targets = targets
	if through {
		p, addr := t.startHub(b, server.Addr, s.Base)
		defer p.End(os.Interrupt)
		s.Hub = addr
	}
	for _, other := range s.list(0)[1:] {
		pub.other(b, other.key)
	}
	f := t.start(b, ours, s)
	defer f.stop()
	for range 3 {
		content := pub.content()
		pub.publish(b, content)
		poll(b, s.target(0), content, f)
		time.Sleep(300 * time.Millisecond)
	}
	for _, other := range s.list(0)[1:] {
		poll(b, other.file, []byte(other.key+"\n"), f)
	}
	time.Sleep(5 * time.Second)
	return f.memory().anonymous
}

// BenchmarkHubStart: from the start of an agent to its first file, and from the start of a hub until clients that connect at
// once have their snapshots.
func BenchmarkHubStart(b *testing.B) {
	nodes, rounds := number(b, nodesEnv, 1200), number(b, roundsEnv, 9)
	t := buildTools(b, ours, hubTogether)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	content := pub.content()
	pub.publish(b, content)
	first := func(through bool) float64 {
		s, targets := newSite(b, server.Addr, 1)
		defer os.RemoveAll(s.Base)
		if through {
			p, addr := t.startHub(b, server.Addr, b.TempDir())
			defer p.End(os.Interrupt)
			s.Hub = addr
		}
		seen, err := observe(targets)
		if err != nil {
			b.Fatal(err)
		}
		defer seen.close()
		seen.expect(content)
		begun := time.Now()
		f := t.start(b, ours, s)
		defer f.stop()
		landed, err := seen.wait(landLimit, f.ended)
		if err != nil {
			b.Fatalf("%v\n%s", err, f.lastWords())
		}
		return ms(landed[0].Sub(begun))
	}
	var direct, through []float64
	for range rounds {
		direct, through = append(direct, first(false)), append(through, first(true))
	}
	printFigures(b, fmt.Sprintf("%d rounds", rounds), []figure{
		{name: "start of an agent to its first file, ms", direct: middle(direct), through: middle(through), limit: "50"},
		{name: fmt.Sprintf("start of a hub to the last of %d snapshots, ms", nodes), through: t.reconnected(b, server, nodes, min(rounds, 5)),
			limit: "3000"},
	})
}

// reconnected is the median time from the start of a hub until all clients that wait for it have their snapshots, in ms.
func (t tools) reconnected(b *testing.B, server *consultest.Server, nodes, rounds int) float64 {
	b.Helper()
	s := site{Addr: server.Addr, Base: b.TempDir(), Nodes: nodes}
	p, addr := t.startHub(b, server.Addr, s.Base)
	s.Hub = addr
	f := t.start(b, hubIdle, s)
	page := metrics{addr: addr}
	page.until(b, "snapshots_total", float64(nodes))
	var took []float64
	for range rounds {
		p.End(os.Kill)
		time.Sleep(time.Second)
		begun := time.Now()
		p, _ = t.startHub(b, server.Addr, s.Base, "--listen", addr)
		page.until(b, "snapshots_total", float64(nodes))
		took = append(took, ms(time.Since(begun)))
	}
	f.stop()
	p.End(os.Interrupt)
	return middle(took)
}

// metrics are those of a hub.
type metrics struct {
	addr   string
	secure bool
}

// read returns a metric of the hub itself; -1 if it cannot be read.
func (m metrics) read(name string) float64 {
	client, scheme := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http"
	if m.secure {
		client.Transport.(*http.Transport).TLSClientConfig, scheme = insecure(), "https"
	}
	resp, err := client.Get(scheme + "://" + m.addr + "/metrics")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	found := regexp.MustCompile(`(?m)^kvexpress_hub_` + name + ` ([0-9.e+]+)$`).FindSubmatch(bytes.TrimSpace(body))
	if found == nil {
		return -1
	}
	v, _ := strconv.ParseFloat(string(found[1]), 64)
	return v
}

func (m metrics) until(b *testing.B, name string, least float64) {
	b.Helper()
	v := -1.0
	for end := time.Now().Add(landLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if v = m.read(name); v >= least {
			return
		}
	}
	b.Fatalf("the hub's metric %s is %v, not %v", name, v, least)
}
