package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"kvexpress/internal/kv"
	"kvexpress/internal/publish"
	"kvexpress/internal/store/consul"
	"kvexpress/internal/testutil/consultest"
)

// landLimit is the longest that a fleet may take for one change, or to start.
const landLimit = 3 * time.Minute

// comparison is of fleets that run one at a time, in blocks whose order turns
// round: each starts from nothing, warms up and takes its changes.
type comparison struct {
	kinds                        []kind // the first is the one that the others are compared with
	nodes, warm, changes, blocks int
	targets                      int           // of each node; 0: 1
	pause                        time.Duration // after each change, more than nodes need to be at rest
	change                       func(*site)   // of the site before it starts; may be nil
}

// result is the result of one block of one kind: medians over its changes.
type result struct {
	p50, last     float64 // ms from the publish to new bytes at a target
	procs, consul float64 // ms of CPU per change, less the CPU of a fleet at rest
	hub           float64 // the same
	memory        memory  // of the median process
}

// BenchmarkFleetOne: one node, each a process of its own.
func BenchmarkFleetOne(b *testing.B) {
	comparison{kinds: []kind{ours, old, floorRaw, consulTemplate}, nodes: 1, warm: 2, changes: 9, blocks: 7}.run(b)
}

// BenchmarkFleet1200: 1,200 nodes in one process.
func BenchmarkFleet1200(b *testing.B) {
	comparison{kinds: []kind{oursTogether, floorRawTogether}, nodes: 1200, warm: 2, changes: 7, blocks: 3}.run(b)
}

// BenchmarkFleetProcesses: 200 nodes, or KVEXPRESS_BENCH_PROCESSES of them, each
// a process of its own.
func BenchmarkFleetProcesses(b *testing.B) {
	nodes := number(b, "KVEXPRESS_BENCH_PROCESSES", 200)
	comparison{kinds: []kind{ours, old, floorRaw, consulTemplate}, nodes: nodes, warm: 2, changes: 7, blocks: 3}.run(b)
}

// BenchmarkReceiptsCost: what receipts cost Consul and the nodes, and whether they make a
// delivery wait. The pause is longer than nodes hold their receipts back, which is up to 3 s.
func BenchmarkReceiptsCost(b *testing.B) {
	nodes, blocks := number(b, "KVEXPRESS_BENCH_NODES", 1200), number(b, roundsEnv, 3)
	kinds := []kind{oursReporting, oursTogether}
	comparison{kinds: kinds, nodes: nodes, warm: 2, changes: 7, blocks: blocks, pause: 6 * time.Second}.run(b)
}

func (c comparison) run(b *testing.B) {
	c.kinds = wanted(b, c.kinds...)
	t := buildTools(b, c.kinds...)
	server := consultest.Start(b)
	pub := newPublisher(b, server.Addr)
	results := map[kind][]result{}
	for block := range c.blocks {
		order := slices.Clone(c.kinds)
		if block%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			results[k] = append(results[k], c.block(b, t, k, server, pub))
		}
	}
	c.report(b, results)
}

// block runs one fleet from its start to its end.
func (c comparison) block(b *testing.B, t tools, k kind, server *consultest.Server, pub *publisher) result {
	b.Helper()
	r := t.begin(b, k, server.Addr, c, pub)
	defer r.end()
	for range c.warm {
		r.change()
	}
	var p50, last []float64
	used := r.used(server, func() {
		for range c.changes {
			took := r.change()
			p50, last = append(p50, quantile(took, 0.5)), append(last, quantile(took, 1))
		}
	})
	n := float64(c.changes)
	return result{
		p50: middle(p50), last: middle(last), procs: ms(used.nodes) / n, consul: ms(used.consul) / n, hub: ms(used.hub) / n,
		memory: r.fleet.memory(),
	}
}

// running is a fleet whose nodes have all got their file, and its observer.
type running struct {
	b     *testing.B
	fleet *fleet
	seen  *observer
	site  site
	pub   *publisher
	pause time.Duration

	hub     *consultest.Process // nil without one
	sockets *sockets            // nil without them
}

// begin starts a fleet that asks addr, and waits until its nodes are at rest.
func (t tools) begin(b *testing.B, k kind, addr string, c comparison, pub *publisher) *running {
	b.Helper()
	s, targets := newSite(b, addr, c.nodes)
	s.Receipts, s.Targets = k == oursReporting || k == hubReporting, c.targets
	if c.change != nil {
		c.change(&s)
	}
	for i := range s.Nodes {
		for _, other := range s.list(i)[1:] {
			pub.other(b, other.key)
		}
	}
	r := &running{b: b, pub: pub}
	switch {
	case k.through():
		r.hub, s.Hub = t.startHub(b, addr, s.Base)
	case k == socketsTogether:
		r.sockets = listen(b)
		s.Hub = r.sockets.Addr().String()
	}
	seen, err := observe(targets)
	if err != nil {
		b.Fatal(err)
	}
	// After a change, nodes write their state and ask again. consul-template
	// holds back what changes within 100 to 120 ms of its last answer.
	pause := max(c.pause, 300*time.Millisecond+time.Duration(s.Nodes)*time.Millisecond/2)
	r.seen, r.site, r.pause = seen, s, pause
	content := pub.content()
	r.publish(content)
	seen.expect(content)
	r.fleet = t.start(b, k, s)
	r.wait()
	return r
}

func (r *running) wait() []time.Time {
	r.b.Helper()
	landed, err := r.seen.wait(landLimit, r.fleet.ended)
	if err != nil {
		r.b.Fatalf("%v\n%s", err, r.fleet.lastWords())
	}
	time.Sleep(r.pause)
	return landed
}

// publish returns the moment just before the change.
func (r *running) publish(content []byte) time.Time {
	r.b.Helper()
	if r.sockets == nil {
		return r.pub.publish(r.b, content)
	}
	sent := time.Now()
	r.sockets.push(content)
	return sent
}

// change publishes, and returns how long each node took, in ms.
func (r *running) change() []float64 {
	r.b.Helper()
	content := r.pub.content()
	r.seen.expect(content)
	sent := r.publish(content)
	var took []float64
	for _, at := range r.wait() {
		took = append(took, ms(at.Sub(sent)))
	}
	slices.Sort(took)
	return took
}

func (r *running) end() {
	r.fleet.stop()
	r.seen.close()
	if r.hub != nil {
		r.hub.End(os.Interrupt)
	}
	if r.sockets != nil {
		r.sockets.Close()
	}
	os.RemoveAll(r.site.Base)
}

// publisher changes the key as `kvexpress in` does.
type publisher struct {
	publish.Publisher
	key  kv.Key
	n    int
	sent time.Time
}

func newPublisher(b *testing.B, addr string) *publisher {
	b.Helper()
	store, err := consul.New(consul.Options{Addr: addr})
	if err != nil {
		b.Fatal(err)
	}
	layout, err := kv.NewLayout(prefix)
	if err != nil {
		b.Fatal(err)
	}
	p := &publisher{Publisher: publish.Publisher{Store: store, Layout: layout, By: "bench"}, key: key}
	p.Fault = func(s publish.Point) error {
		if s == publish.AtPromote {
			p.sent = time.Now()
		}
		return nil
	}
	return p
}

// other publishes a key that no benchmark changes.
func (p *publisher) other(b *testing.B, name string) {
	b.Helper()
	o := publisher{Publisher: p.Publisher, key: kv.Key(name)}
	if _, err := o.Publish(b.Context(), publish.Request{Key: o.key, Content: []byte(name + "\n")}); err != nil {
		b.Fatal(err)
	}
}

// content is new with each call.
func (p *publisher) content() []byte {
	p.n++
	return hosts(p.n)
}

// publish returns the moment just before the request that changes the key. What
// it reads before that is the same for all, and no part of delivering.
func (p *publisher) publish(b *testing.B, content []byte) time.Time {
	b.Helper()
	r, err := p.Publish(b.Context(), publish.Request{Key: p.key, Content: content})
	if err != nil || r.Action != publish.Published {
		b.Fatalf("publish: %s, %v", r.Action, err)
	}
	return p.sent
}

// columns are the figures of a result.
var columns = []struct {
	name string
	of   func(result) float64
}{
	{"p50-ms", func(r result) float64 { return r.p50 }},
	{"last-ms", func(r result) float64 { return r.last }},
	{"nodes-cpu-ms", func(r result) float64 { return r.procs }},
	{"consul-cpu-ms", func(r result) float64 { return r.consul }},
	{"hub-cpu-ms", func(r result) float64 { return r.hub }},
	{"anonymous-MiB", func(r result) float64 { return r.memory.anonymous }},
	{"resident-MiB", func(r result) float64 { return r.memory.resident }},
}

// report prints medians over the blocks, and for each other kind the median of
// the blocks' ratios: ours to it.
func (c comparison) report(b *testing.B, results map[kind][]result) {
	table := newTable()
	fmt.Fprintf(table, "%d nodes, %d × %d changes; CPU per change, memory of a process", c.nodes, c.blocks, c.changes)
	for _, col := range columns {
		fmt.Fprintf(table, "\t%s", col.name)
	}
	fmt.Fprint(table, "\t\n")
	for _, k := range c.kinds {
		fmt.Fprintf(table, "%s", k)
		for _, col := range columns {
			var v []float64
			for _, r := range results[k] {
				v = append(v, col.of(r))
			}
			fmt.Fprintf(table, "\t%.2f", middle(v))
			if k == c.kinds[0] {
				b.ReportMetric(middle(v), col.name)
			}
		}
		fmt.Fprint(table, "\t\n")
	}
	first := results[c.kinds[0]]
	for _, k := range c.kinds[1:] {
		fmt.Fprintf(table, "%s to %s", c.kinds[0], k)
		for _, col := range columns {
			var v []float64
			for i, r := range results[k] {
				v = append(v, col.of(first[i])/col.of(r))
			}
			fmt.Fprintf(table, "\t%.2f ×", middle(v))
			if col.name == "last-ms" {
				word, _, _ := strings.Cut(string(k), ",")
				b.ReportMetric(middle(v), "last-x-"+strings.ReplaceAll(word, " ", "-"))
			}
		}
		fmt.Fprint(table, "\t\n")
	}
	table.print(b)
	c.compareModel(b, results)
}

type table struct {
	*tabwriter.Writer
	text *strings.Builder
}

func newTable() table {
	var text strings.Builder
	return table{tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight), &text}
}

func (t table) print(b *testing.B) {
	b.Helper()
	t.Flush()
	b.Log("\n" + strings.TrimRight(t.text.String(), " \n"))
	b.ReportMetric(0, "ns/op") // one run of all blocks means nothing
}
